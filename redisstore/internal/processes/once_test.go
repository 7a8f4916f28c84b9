//go:build unix

package processes

import (
	"sync"
	"testing"
)

// accepts presents one token to each process at the same time and returns how many accept it. The
// clients do not confirm.
func accepts(t *testing.T, all []*process, token string) (accepted int, codes []string) {
	t.Helper()
	results := make([]error, len(all))
	var wg sync.WaitGroup
	for n, p := range all {
		wg.Go(func() {
			s, err := dial(t.Context(), p.url, nil)
			if err == nil {
				defer s.close()
				err = present(t, s, token)
			}
			results[n] = err
		})
	}
	wg.Wait()
	for _, err := range results {
		switch code := refused(err); {
		case err == nil:
			accepted++
		case code == "":
			t.Fatal(err)
		default:
			codes = append(codes, code)
		}
	}
	return accepted, codes
}

// present presents a token on a socket, as a client does that does not confirm.
func present(t *testing.T, s *socket, token string) error {
	if err := s.emit("authenticate", map[string]string{"token": token}); err != nil {
		return err
	}
	return s.admitted(t.Context())
}
