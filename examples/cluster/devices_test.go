package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/socketauthtest"
)

// Guards: who found a page open could log its user out everywhere else.
func TestPasswordIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
		serveDevices(srv.Server)
		ada, phone := srv.Dial(jwt.MapClaims{"sub": "ada"}), srv.Dial(jwt.MapClaims{"sub": "ada"})
		time.Sleep(recently + time.Second)
		for _, event := range []string{"end device", "end others"} {
			if _, err := ada.Call(event, "AAAAAAAAAAAAAAAAAAAAAA"); err == nil || err.Error() != "reauthentication_required" {
				t.Errorf("%s: %v", event, err)
			}
		}
		sessions, err := srv.Auth().Sessions(context.Background(), "ada")
		if err != nil || len(sessions) != 2 {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
		laptop := srv.Dial(jwt.MapClaims{"sub": "ada"}) // a login of just now
		if _, err := laptop.Call("end others"); err != nil {
			t.Error(err)
		}
		for _, c := range []*socketauthtest.Client{ada, phone} {
			c.WaitClosed()
		}
		if left, err := srv.Auth().Sessions(context.Background(), "ada"); err != nil || len(left) != 1 {
			t.Error(fmt.Sprint(left), err)
		}
	})
}
