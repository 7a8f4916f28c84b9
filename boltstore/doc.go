// Package boltstore is a blacklist.Store in a file: sessions survive a restart, and what was logged out,
// replaced or revoked stays dead. It needs no server; the file is one of go.etcd.io/bbolt.
//
//	store, err := boltstore.Open("/var/lib/app/sessions.db")
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[User]{Blacklist: store, ...})
//
// # Durability
//
// When a method returns without an error, its decision is on disk (fsync): neither the end of the process nor, as far as
// the disk keeps what it says it has written, a power cut undoes it. When it returns an error, its decision may be on disk
// or not, and the same call again finds out. Concurrent calls share an fsync, so that many at once cost little more than
// one. Check and Sessions only read.
//
// Codes are good over a restart too, for the store knows which were used; those issued before the file was made are not.
// If the file is lost, restored from an older copy, or emptied, so is what it knew: with no file all sessions are over;
// with an older copy, tokens replaced or revoked since are alive again, so call Auth.RevokeAll after restoring one.
//
// # One process
//
// A file is open in one store at a time; Open returns ErrInUse for the second. Cores of one process share the store.
//
// # Size
//
// A session takes some 700 bytes of the file while one of its tokens lives, however often they are replaced, and a
// minute more. One that has ended is no longer read when its user's sessions are. A revocation of a user, or of a session that the store does not know, takes some 400 for as long as
// Revocation.Keep says and two minutes more, however often it is repeated. Each call that writes clears away up to eight
// of those that are over, so a burst is gone after an eighth as many; reading clears nothing. The file does not shrink;
// the room is used again.
//
// # Clocks
//
// All is decided by the wall clock. One that is set forward ends sessions early. One that is set back prolongs the memory
// of revocations: who logs in again has to wait until it has passed the revocation. And because sessions may have been
// forgotten whose codes would then be in time again, codes issued before the store found out are refused. A token that
// was replaced before the clock was set back passes no Check by its grace, and presented again it is reuse. A code that
// nobody used, or whose session is forgotten, is good once more when the time at which it was issued comes again.
//
// # Damage
//
// What was written carries a checksum; a record that does not fit it, a file cut short, or one that is no blacklist is
// ErrCorrupt, and nothing is accepted by it. A damaged session is none of those that Sessions tells, and keeps neither
// RevokeUser nor RevokeAll from ending the others; what a user's last revocation was, if damaged, RevokeUser says anew,
// and until then the user's tokens are errors.
//
// bbolt itself has checksums for its two root pages alone. Open therefore reads the file once, about half a second for a
// gigabyte in memory, and returns ErrCorrupt where pages do not hang together; it writes nothing to such a file. What it
// does not see is a damaged key that is still in its place between the others, by which a session can no longer be
// found: its tokens are unknown then, and a code that was used within the last CodeLifetime may be taken for a new one.
package boltstore
