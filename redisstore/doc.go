// Package redisstore is a blacklist.Store in Redis or Valkey, for apps of more than one process.
package redisstore
