package redisstore

import (
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

func messages() map[string]message {
	user := "user \xff\n 1"
	b := userOf(user).bucket
	at := time.UnixMicro(1_790_000_000_123_456)
	counters, epochs, moments := new([buckets]int64), new([buckets]int64), new([buckets]int64)
	for n := range buckets {
		counters[n], epochs[n], moments[n] = int64(n), 1_790_000_000+int64(n), at.UnixMicro()+int64(n)
	}
	id := textID("0123456789abcdef")
	all := make(map[string]message)
	add := func(m message) {
		head := fmt.Sprintf("%d %d %d %d\n", m.bucket, m.counter, m.change.At.UnixMicro(), m.change.Mark)
		text := head + string(appendChange(nil, m.change, m.keep))
		if m.all {
			text = m.format()
		}
		all[text] = m
	}
	add(message{bucket: b, counter: 7, change: blacklist.Change{UserID: user, SessionID: id, Verdict: blacklist.Accepted, TokenID: id, Generation: 1 << 40, At: at}})
	add(message{bucket: b, counter: 1 << 50, keep: time.Hour, change: blacklist.Change{UserID: user, SessionID: id, Verdict: blacklist.LoggedOut, At: at}})
	add(message{bucket: b, counter: 8, keep: time.Minute, change: blacklist.Change{UserID: user, Except: id, Verdict: blacklist.Revoked, At: at}})
	add(message{bucket: b, counter: 9, keep: time.Minute, change: blacklist.Change{UserID: user, Verdict: blacklist.Stale, Mark: at.UnixMicro() + 1, At: at}})
	add(message{all: true, counters: counters, epochs: epochs, moments: moments, change: blacklist.Change{All: true, Verdict: blacklist.Revoked, At: at}})
	return all
}

// Guards the form of messages: what is said is heard, also of a user with an odd name.
func TestMessages(t *testing.T) {
	for text, want := range messages() {
		if got, err := parseMessage(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n%+v, %v, want\n%+v", text, got, err, want)
		}
		for n := range len(text) {
			if got, err := parseMessage(text[:n]); err == nil {
				t.Errorf("%q, which was cut short, is %+v", text[:n], got)
			}
		}
	}
}

// Guards against messages that make the process panic, or that are not what they say.
func FuzzMessage(f *testing.F) {
	for text := range messages() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMessage(text)
		if err != nil {
			return
		}
		c := m.change
		if m.all != c.All || c.Gap || c.Sessions != 0 || m.all != (c.UserID == "") || m.bucket < 0 || m.bucket >= buckets {
			t.Errorf("%q: %+v", text, m)
		}
		if c.Verdict == 0 || c.Verdict == blacklist.ReuseDetected || c.At.IsZero() || m.counter < 0 || m.keep < 0 {
			t.Errorf("%q: %+v", text, m)
		}
	})
}

// Guards the memory of processes: what anybody may publish takes none beyond its own.
func TestForgedMessagesTakeNoMemory(t *testing.T) {
	for name, text := range map[string]string{
		"fields":            strings.Repeat(" ", 4<<20),
		"fields of numbers": "* " + strings.Repeat(",", 4<<20) + " 1 1\n" + string(appendChange(nil, blacklist.Change{Verdict: blacklist.Revoked}, 0)),
		"numbers":           "* " + strings.Repeat(":", 4<<20) + " 1 1\n" + string(appendChange(nil, blacklist.Change{Verdict: blacklist.Revoked}, 0)),
		"short fields":      strings.Repeat(" ", maxMessage),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseMessage(text)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; err == nil || took > 256<<10 {
			t.Errorf("%s: %v, %d bytes", name, err, took)
		}
	}
	long := strings.Repeat("x", maxField)
	c := blacklist.Change{UserID: long, SessionID: long, Except: long, TokenID: long, Verdict: blacklist.Revoked, Generation: 1<<63 - 1}
	text := "63 9007199254740991 9007199254740991 9007199254740991\n" + string(appendChange(nil, c, maxKeep))
	text = strconv.Itoa(userOf(long).bucket) + text[2:]
	if _, err := parseMessage(text); err != nil {
		t.Errorf("the longest message: %v", err)
	}
}
