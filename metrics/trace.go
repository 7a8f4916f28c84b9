package metrics

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Trace returns what Options.Trace can be set to: a span of OpenTelemetry for each operation, named
// "socketauth" and the operation, such as "socketauth store Present". A span that ends with an
// error has the status Error and the error's text, or the beginning of a long one. The spans within
// a request are children of the request's, if middleware such as otelhttp has begun one. p is for
// example otel.GetTracerProvider().
func Trace(p trace.TracerProvider) func(ctx context.Context, op string) (context.Context, func(err error)) {
	tracer := p.Tracer("github.com/z-open/socketauth")
	return func(ctx context.Context, op string) (context.Context, func(err error)) {
		ctx, span := tracer.Start(ctx, "socketauth "+op)
		return ctx, func(err error) {
			if err != nil {
				span.SetStatus(codes.Error, statusText(err))
			}
			span.End()
		}
	}
}

// statusText returns the text of an error as exporters take it: not long, and valid UTF-8.
func statusText(err error) string {
	const most = 1 << 10
	text := err.Error()
	if len(text) > most+len("...") { // which socketauth adds too where it cuts
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
