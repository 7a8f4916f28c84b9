// Package redisstore is a blacklist.Store in Redis or Valkey, for apps of more than one process:
// what one process ends is over in all of them. It is also a socketauth.Broker, by which the
// processes reach each other's sockets. It is a module of its own:
//
//	go get github.com/z-open/socketauth/redisstore
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"10.0.0.7:6379"},
//		ContextTimeoutEnabled: true,
//	})
//	shared, err := redisstore.New(client, redisstore.Options{Prefix: "app:"})
//	if err != nil {
//		return err
//	}
//	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[User]{
//		Blacklist: shared,
//		Cluster:   socketauth.Cluster{Broker: shared},
//		// ...
//	})
//
// The client is one of github.com/redis/go-redis/v9, for a single server, Sentinel or a cluster, of
// Redis 6.2 or later, or Valkey. New does no I/O, so an app may start before Redis does. While
// Redis cannot be reached, nothing is accepted, and sockets that are connected stay.
//
// # Configuring Redis
//
// Sessions are worth as much as Redis remembers of them. What to set, and what it is for:
//
//   - maxmemory-policy noeviction. With any other, Redis throws away sessions where it is full: at
//     best, users have to log in again. With noeviction, logins are refused where it is full, and
//     revocations, and the sessions that have begun, go on.
//   - appendonly yes. A restart then loses nothing if Redis was ended or killed. With appendfsync
//     everysec, a power cut loses up to two seconds; with always, nothing.
//   - min-replicas-to-write 1 and min-replicas-max-lag 10, if there are replicas. A master that is
//     cut off from its replicas then stops deciding after ten seconds, while another has taken
//     over.
//   - cluster-require-full-coverage no, in a cluster. While one of its masters is out, the users of
//     the others are served.
//   - Redis for this alone, or at least a database that no FLUSHDB is meant for. An empty Redis
//     means that all users have to log in again.
//   - An ACL for the app, here with the prefix "sa:", and TLS. Who can write to Redis can revive
//     sessions that are over, but cannot make tokens, which are signed. Nothing in Redis holds a
//     token's text.
//
// The user for it:
//
//	ACL SETUSER app on >PASSWORD ~sa:* resetchannels &sa:* +@connection +eval +evalsha +hdel
//		+hexists +hget +hgetall +hincrby +hmget +hscan +hset +info +pexpireat +pttl +publish
//		+scan +subscribe +time +unsubscribe
//
// A client of a cluster also needs +cluster|slots +command.
//
// # What Redis may lose
//
// A replica that takes over may be behind, and a power cut may lose the last writes. What the store
// does about it:
//
//   - A code that was used is not accepted again. The store notes the run_id of the Redis that it
//     wrote to; if another answers, codes issued until two seconds after that are refused. Their
//     users log in again. With Options.Durable, for a Redis that loses nothing, codes stay good
//     over a restart.
//   - What was revoked in the last minute stays so: each process remembers it, and tells Redis
//     again after each new subscription. If that happens while no process is left that knows of it,
//     it can come back.
//   - A token that was replaced in the time that is lost is good again, and its successor is not:
//     the client logs in again, unless it still has the former token. If the token was stolen, its
//     thief may use it until the owner's client presents what it has, which is found as reuse.
//
// None of this can happen with appendfsync always and no replica that may be promoted. (WAIT on
// each write would prevent it too, but the store does not use it.)
//
// # Clocks
//
// Times in Redis are by Redis's own clock, and tokens are stamped by it, with an estimate that is
// never ahead of it. So the clocks of processes may differ by Options.MaxSkew, and no login
// survives a revocation because of that. If Redis's clock is set back, users that were revoked
// cannot log in until it has passed the revocation, and codes issued before are refused.
//
// # Cost
//
// A login, a rotation and a confirmation take one round trip if this process has seen the session's
// record last, and two otherwise. Check and a revocation take one; a revocation of all takes three,
// and then a scan of the keys to count the sessions, for at most half a second. A session takes
// less than 350 bytes of Redis's memory with a usual user agent, until a minute after the last of
// its tokens has expired; one that has ended takes much less. Every key has an expiry.
//
// All that is kept of a user is in one slot of a cluster, so that one script decides. It follows
// that a session is known by its user: a revocation that names another user ends nothing of it.
package redisstore
