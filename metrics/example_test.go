package metrics_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/metrics"
)

// Metrics on an address of their own, apart from what the app serves to its users.
func ExampleNewCollector() {
	srv, err := socketauth.SocketServe(nil, http.NewServeMux(), socketauth.Options[any]{
		Secret: []byte("use 32 random bytes of your own!"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())

	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(srv.Auth().Stats))
	mux := http.NewServeMux() // not the app's
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	operator := &http.Server{Addr: "127.0.0.1:9100", Handler: mux, ReadTimeout: 5 * time.Second}

	w := httptest.NewRecorder() // in place of operator.ListenAndServe
	operator.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	fmt.Println(strings.Contains(w.Body.String(), "socketauth_rotations_total 0"))
	// Output: true
}

// Logins, presentations, store calls and handlers as spans. An app gives its own provider.
func ExampleTrace() {
	provider := otel.GetTracerProvider()
	auth, err := socketauth.New(socketauth.Options[any]{
		Secret: []byte("at least thirty-two random bytes"),
		Trace:  metrics.Trace(provider),
	})
	fmt.Println(auth != nil, err)
	// Output: true <nil>
}
