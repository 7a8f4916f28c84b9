package socketauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
)

// FuzzAuthorization checks that a token is read from one well-formed Authorization header alone.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"Bearer x", "bearer  x y", "DPoP x", "dpop  x", "Bearer", "Bearer ", "DPoP", "Basic x", "", "Bearer\tx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		h, ok := authorizationOf(r)
		scheme := "Bearer "
		if h.isDPoP {
			scheme = "DPoP "
		}
		if ok && (h.text == "" || h.text[0] == ' ' || !strings.HasSuffix(header, h.text) ||
			len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme)) {
			t.Errorf("%q names %+v", header, h)
		}
		r.Header.Add("Authorization", header)
		if _, ok := authorizationOf(r); ok {
			t.Errorf("%q is taken twice", header)
		}
	})
}

// TestMiddlewareClockSetBack checks that a replaced token is refused also after the wall clock was
// set back.
func TestMiddlewareClockSetBack(t *testing.T) {
	var a *Auth
	var replaced, latest *token
	status := func(bearer *token) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+bearer.Text)
		w := httptest.NewRecorder()
		a.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		return w.Code
	}
	presents := func(t *testing.T, now *token) *token {
		t.Helper()
		next, err := a.tokens.successor(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.blacklist.Present(t.Context(), blacklist.Presentation{Token: now.ref(), SuccessorID: next.ID, SuccessorExpiresAt: next.ExpiresAt})
		if err != nil || r.Verdict != blacklist.Accepted {
			t.Fatalf("verdict %d, %v", r.Verdict, err)
		}
		return next
	}
	logsIn := func(t *testing.T) *token {
		t.Helper()
		text, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
		if err != nil {
			t.Fatal(err)
		}
		code, refused := a.verify(t.Context(), text)
		if refused != nil {
			t.Fatal(refused)
		}
		return presents(t, code)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		var err error
		if a, err = New(Options[any]{Secret: make([]byte, 32)}); err != nil {
			t.Fatal(err)
		}
		replaced = logsIn(t)
		latest = presents(t, replaced)
		if got := status(replaced); got != 200 {
			t.Errorf("just replaced: %d", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		for range 3 {
			if got := status(replaced); got != 401 {
				t.Errorf("replaced: %d", got)
			}
			if got := status(latest); got != 200 {
				t.Errorf("current: %d", got)
			}
			if got := status(logsIn(t)); got != 200 {
				t.Errorf("a log-in of after: %d", got)
			}
			time.Sleep(20 * time.Minute)
		}
	})
}
