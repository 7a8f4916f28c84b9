// Package natstest runs package brokertest over NATS, which shows that socketauth.Broker fits more
// than one service. Its tests have a Broker on NATS that an app may start from. It exports nothing.
package natstest
