package boltstore

import (
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/blacklist"
)

// Guards the number that a revocation of all returns against what is done before it counts: claims
// that are raised then, of sessions that are over, take nothing from it.
func TestRevocationOfAllCountsWhatIsRaised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		_, token := starts(t, s, "anna")
		raised := 0
		go func() {
			_ = s.Watch(t.Context(), func(c blacklist.Change) {
				if !c.All {
					return
				}
				for _, r := range []blacklist.Revocation{{UserID: "anna", SessionID: token.SessionID}, {UserID: "anna"}} {
					r.Why, r.Keep = blacklist.Stale, aCode
					if c, err := s.Revoke(t.Context(), r); err != nil || c.Sessions != 0 {
						t.Errorf("%d sessions raised that were over, %v", c.Sessions, err)
					}
					raised++
				}
			})
		}()
		synctest.Wait() // it watches
		if c := revokes(t, s, blacklist.Revocation{All: true}); c.Sessions != 1 || raised != 2 {
			t.Errorf("%d sessions, want 1; %d were raised before", c.Sessions, raised)
		}
		refused(t, s, blacklist.Revoked, token)
	})
}
