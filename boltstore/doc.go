// Package boltstore is a blacklist.Store in a file: sessions survive a restart, and what was logged
// out, replaced or revoked stays dead. It needs no server; the file is one of go.etcd.io/bbolt.
// It is a module of its own:
//
//	go get github.com/z-open/socketauth/boltstore
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
// When a method returns without an error, its decision is on disk (fsync). Neither the end of the
// process nor a power cut undoes it, as far as the disk keeps what it reports as written. When a
// method returns an error, its decision may be on disk or not, and the same call again finds out.
// Concurrent calls share an fsync, so that many at once cost little more than one. Check and
// Sessions only read.
//
// Codes stay good over a restart too, because the store knows which were used. Codes issued before
// the file was made are refused. If the file is lost or emptied, all sessions are over. If it is
// restored from an older copy, tokens that were replaced or revoked since are alive again: call
// Auth.RevokeAll after restoring one.
//
// # One process
//
// A file is open in one store at a time; Open returns ErrInUse for the second. Several cores in one
// process share the store.
//
// # Size
//
// A session takes about 700 bytes of the file until a minute after the last of its tokens has
// expired, however often they are replaced. Sessions does not read a session that has ended. A
// revocation of a user, or of a session that the store does not know, takes about 400 bytes for as
// long as Revocation.Keep says and two minutes more, however often it is repeated. Each call that
// writes removes up to eight records that are over; reading removes none. The file does not shrink,
// and its free space is used again.
//
// # Clocks
//
// The wall clock decides. If it is set forward, sessions end early. If it is set back, revocations
// are remembered for longer: a user who was revoked cannot log in until the clock has passed the
// revocation. Codes that were issued before the store noticed are refused, because it may have
// forgotten a session whose code would be in time again. Once the clock has reached the time at
// which such a code was issued, the code is good again, if nobody used it or its session is
// forgotten. A token that was replaced before the clock was set back gets no grace from Check, and
// it is reuse if it is presented again.
//
// # Damage
//
// Each record carries a checksum. If a record does not match it, or the file was cut short or is
// not a store, the error is ErrCorrupt and nothing is accepted. Sessions does not list a damaged
// session, and a damaged session keeps neither RevokeUser nor RevokeAll from ending the others. If
// the record of a user's last revocation is damaged, call RevokeUser again; until then, calls about
// the user's tokens return an error.
//
// bbolt itself has checksums for its two root pages only. Open therefore reads the file once, which
// takes about half a second for a gigabyte that is in memory, and returns ErrCorrupt if the pages
// do not fit together; it writes nothing to such a file. One kind of damage stays unnoticed: a
// damaged key that is still between its neighbours, by which a session can no longer be found. The
// tokens of that session are Unknown, and a code that was used within the last CodeLifetime may be
// accepted again.
package boltstore
