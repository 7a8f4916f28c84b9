// Package kit is what the tests of the recipes share: a database, a browser, and mails.
package kit

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	_ "modernc.org/sqlite" // the driver "sqlite", without cgo
)

const patience = 60 * time.Second // for whatever a test waits for, on a busy machine

// Database returns an empty database with the tables of files of SQL.
func Database(t testing.TB, schemas ...string) *sql.DB {
	t.Helper()
	file := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(file)+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, name := range schemas {
		schema, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		Exec(t, db, string(schema))
	}
	return db
}

// Exec executes SQL.
func Exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// Scan reads the one row that a query has.
func Scan(t testing.TB, db *sql.DB, dst any, query string, args ...any) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(dst); err != nil {
		t.Fatal(err)
	}
}

// Page starts Chromium until the end of the test, and returns the context of a page in it.
func Page(t testing.TB) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("/usr/bin/chromium"),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	Do(t, ctx)
	err := chromedp.Listen(ctx, func(event any) {
		if thrown, ok := event.(*runtime.EventExceptionThrown); ok {
			t.Logf("in the page: %+v", thrown.ExceptionDetails)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// Do has a page do something.
func Do(t testing.TB, page context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(page, actions...); err != nil {
		t.Fatal(err)
	}
}

// Await waits until an expression of JavaScript is true in a page, also in one that the page goes
// to meanwhile.
func Await(t testing.TB, page context.Context, expression string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		_, err := chromedp.Run(page, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingTimeout(patience)))
		if err == nil {
			return
		}
		if time.Now().After(deadline) || page.Err() != nil {
			text, _ := chromedp.Run(page, chromedp.Evaluate[string]("location.href + ' ' + document.body.innerText"))
			t.Fatalf("%s: %v, at %s", expression, err, text)
		}
	}
}

// Mails are the mails that an app sends: the URLs of the links in them.
type Mails struct {
	t    testing.TB
	sent chan [2]string
}

// NewMails returns Mails without any.
func NewMails(t testing.TB) *Mails { return &Mails{t, make(chan [2]string, 100)} }

// Send sends a link.
func (m *Mails) Send(_ context.Context, to, link string) error {
	m.sent <- [2]string{to, link}
	return nil
}

// Await waits for the next mail, which has to be to that address, and returns its link.
func (m *Mails) Await(to string) (link string) {
	m.t.Helper()
	select {
	case mail := <-m.sent:
		if mail[0] != to {
			m.t.Fatalf("a mail to %s, want one to %s", mail[0], to)
		}
		return mail[1]
	case <-time.After(patience):
		m.t.Fatalf("no mail to %s", to)
	}
	return ""
}

// Len returns how many mails nobody has waited for.
func (m *Mails) Len() int { return len(m.sent) }

// Secret returns the secret in a link.
func Secret(link string) string { return link[strings.LastIndex(link, "=")+1:] }
