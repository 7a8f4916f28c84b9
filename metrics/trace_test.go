package metrics_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/metrics"
	"github.com/z-open/socketauth/socketauthtest"
)

// TestSpans guards which spans a socket and its events make, what is within what, and that one that
// fails says so.
func TestSpans(t *testing.T) {
	recorded := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(recorded))
	srv := socketauthtest.NewServer(t, socketauth.Options[any]{Trace: metrics.Trace(provider)})
	srv.On("fail", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
		_, err := srv.Auth().Sessions(ctx, "anna")
		if err != nil {
			return nil, err
		}
		return nil, &socketauth.PublicError{Code: "full"}
	})
	c := srv.Dial(jwt.MapClaims{"sub": "anna"})
	_, _ = c.Call("fail", nil)
	type span struct{ name, within, status string }
	var got []span
	names := make(map[string]string) // by id
	for _, s := range recorded.Started() {
		names[s.SpanContext().SpanID().String()] = s.Name()
	}
	for _, s := range recorded.Ended() {
		status := ""
		if s.Status().Code == codes.Error {
			status = s.Status().Description
		}
		got = append(got, span{s.Name(), names[s.Parent().SpanID().String()], status})
	}
	for _, want := range []span{
		{"socketauth store Present", "socketauth presentation", ""},
		{"socketauth presentation", "", ""},
		{"socketauth store Sessions", "socketauth handler fail", ""},
		{"socketauth handler fail", "", "full"},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("there is no span %+v in %+v", want, got)
		}
	}
}

// TestSpanStatus guards that the status of a span is valid UTF-8, which exporters insist on, and of
// limited length.
func TestSpanStatus(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"short":   {"broken", "broken"},
		"invalid": {"bad \xff name", "bad \uFFFD name"},
		"long":    {strings.Repeat("é", 30000), strings.Repeat("é", 512) + "..."},
		"cut":     {"x" + strings.Repeat("é", 30000), "x" + strings.Repeat("é", 511) + "\uFFFD..."},
	} {
		t.Run(name, func(t *testing.T) {
			recorded := tracetest.NewSpanRecorder()
			begin := metrics.Trace(trace.NewTracerProvider(trace.WithSpanProcessor(recorded)))
			_, end := begin(t.Context(), "store Present")
			end(errors.New(tt.text))
			got := recorded.Ended()[0].Status()
			if got.Code != codes.Error || got.Description != tt.want || !utf8.ValidString(got.Description) {
				t.Errorf("status %v, %d bytes: %.50q", got.Code, len(got.Description), got.Description)
			}
		})
	}
}
