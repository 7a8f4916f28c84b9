// Package bench compares the throughput and the memory per socket of the library and of others,
// with the same client for each server. It is a separate module, so that users of the library do
// not get its dependencies. README.md says how to run it.
package bench
