package main

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
)

var errLost = errors.New("the answer is lost, on purpose")

// lossy is a network that loses answers: the server has done what it was asked, and the client does
// not hear of it.
type lossy struct {
	http.RoundTripper
	rate float64 // of all answers
	lost atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(r)
	if err == nil && rand.Float64() < l.rate {
		l.lost.Add(1)
		return nil, errors.Join(errLost, res.Body.Close())
	}
	return res, err
}

func isLost(err error) bool { return errors.Is(err, errLost) }
