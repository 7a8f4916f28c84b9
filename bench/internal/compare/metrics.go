package compare

// The names of metrics, as the table and the JSON have them.
const (
	opsPerSecond    = "per second"
	cpuPerOp        = "CPU us each" // of the server's process
	p50             = "p50 ms"
	p99             = "p99 ms"
	allSeconds      = "s for all"
	kibPerSocket    = "RSS KiB each"
	slope           = "RSS KiB each, later half"
	mibTotal        = "RSS MiB"
	sockets         = "sockets"
	loginsPerSecond = "logins per second"
	refused         = "logins refused"
	sessions        = "sessions"
	heapPerSession  = "heap bytes each"
	rssPerSession   = "RSS bytes each"
	microsPerStep   = "us each step"
	longestStep     = "longest step ms"
	revokeMicros    = "us to end all"
	gcMillis        = "GC ms"
)

// metricOrder is the order of columns.
var metricOrder = []string{
	opsPerSecond, allSeconds, cpuPerOp, p50, p99, sockets, kibPerSocket, slope, mibTotal,
	loginsPerSecond, refused, sessions, heapPerSession, rssPerSession, microsPerStep, longestStep, revokeMicros, gcMillis,
}
