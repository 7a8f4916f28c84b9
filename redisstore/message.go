package redisstore

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// A message is what is published when something has changed. On the channel it is a line of
// numbers, which the script that made the change writes, a line feed, and the change as the process
// encoded it that asked for the change:
//
//	BUCKET COUNTER AT MARK        a change in one bucket
//	* COUNTER:EPOCH:AT,... AT 0   all were revoked: what each bucket says of it
//
// Each change in a bucket raises the bucket's counter by one, in the same step, so that whoever
// misses a message can find out. AT is the time of the change by the store's clock, in Unix
// microseconds.
type message struct {
	all      bool
	bucket   int             // unless all
	counter  int64           // unless all
	counters *[buckets]int64 // if all
	epochs   *[buckets]int64 // if all: what begins
	moments  *[buckets]int64 // if all: when, by the bucket's clock
	change   blacklist.Change
	keep     time.Duration // the revocation's
}

var errMessage = errors.New("redisstore: not a message of the store")

const messageVersion = 1

// maxField is how long a string in a message may be.
const maxField = 1 << 16

// appendChange appends what a process says of a change, which ends with the change's own At and
// Mark left out: they are the script's to say.
func appendChange(b []byte, c blacklist.Change, keep time.Duration) []byte {
	b = append(b, messageVersion, byte(c.Verdict))
	for _, field := range [...]string{c.UserID, c.SessionID, c.Except, c.TokenID} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	b = binary.AppendUvarint(b, c.Generation)
	return binary.AppendUvarint(b, uint64(max(0, keep.Microseconds())))
}

func parseChange(b string) (c blacklist.Change, keep time.Duration, err error) {
	if len(b) < 2 || b[0] != messageVersion {
		return c, 0, errMessage
	}
	switch c.Verdict = blacklist.Verdict(b[1]); c.Verdict {
	case blacklist.Accepted, blacklist.LoggedOut, blacklist.Revoked, blacklist.SessionCompromised, blacklist.Stale:
	default:
		return blacklist.Change{}, 0, errMessage
	}
	b = b[2:]
	number := func() (v uint64) {
		v, n := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
		if n <= 0 {
			err = errMessage
			return 0
		}
		b = b[n:]
		return v
	}
	for _, field := range [...]*string{&c.UserID, &c.SessionID, &c.Except, &c.TokenID} {
		length := number()
		if err != nil || length > maxField || length > uint64(len(b)) {
			return blacklist.Change{}, 0, errMessage
		}
		*field, b = b[:length], b[length:]
	}
	c.Generation = number()
	micros := number()
	if err != nil || len(b) > 0 || micros > uint64(maxKeep.Microseconds()) {
		return blacklist.Change{}, 0, errMessage
	}
	return c, time.Duration(micros) * time.Microsecond, nil
}

// maxKeep is the longest Keep in a message. A longer one is written as this.
const maxKeep = 100 * 365 * 24 * time.Hour

// format returns the message that all were revoked.
func (m *message) format() string {
	b := []byte("* ")
	for n := range buckets {
		if n > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, m.counters[n], 10)
		b = strconv.AppendInt(append(b, ':'), m.epochs[n], 10)
		b = strconv.AppendInt(append(b, ':'), m.moments[n], 10)
	}
	b = strconv.AppendInt(append(b, ' '), m.change.At.UnixMicro(), 10)
	b = append(b, " 0\n"...)
	return string(appendChange(b, m.change, m.keep))
}

// maxMessage is how long a message is at most: four strings, and the numbers of each bucket.
const maxMessage = 4*maxField + buckets*64 + 1<<10

// parseMessage parses what was published on the store's channel. It takes no memory that is worth
// mentioning for what is no message, whatever the length.
func parseMessage(text string) (m message, err error) {
	if len(text) > maxMessage {
		return message{}, errMessage
	}
	head, body, ok := strings.Cut(text, "\n")
	fields := strings.SplitN(head, " ", 5)
	if !ok || len(fields) != 4 {
		return message{}, errMessage
	}
	if m.change, m.keep, err = parseChange(body); err != nil {
		return message{}, err
	}
	at, ok1 := number(fields[2])
	mark, ok2 := number(fields[3])
	if !ok1 || !ok2 {
		return message{}, errMessage
	}
	m.change.At, m.change.Mark = time.UnixMicro(at), mark
	if fields[0] != "*" {
		bucket, ok1 := number(fields[0])
		counter, ok2 := number(fields[1])
		m.bucket, m.counter = int(bucket), counter
		if !ok1 || !ok2 || bucket >= buckets || m.change.UserID == "" || userOf(m.change.UserID).bucket != m.bucket {
			return message{}, errMessage
		}
		return m, nil
	}
	m.all, m.change.All = true, true
	m.counters, m.epochs, m.moments = new([buckets]int64), new([buckets]int64), new([buckets]int64)
	said := strings.SplitN(fields[1], ",", buckets+1)
	if len(said) != buckets || m.change.UserID != "" || m.change.SessionID != "" || m.change.Except != "" || m.change.TokenID != "" {
		return message{}, errMessage
	}
	for n, one := range said {
		parts := strings.SplitN(one, ":", 4)
		if len(parts) != 3 {
			return message{}, errMessage
		}
		for i, field := range [...]*int64{&m.counters[n], &m.epochs[n], &m.moments[n]} {
			if *field, ok1 = number(parts[i]); !ok1 {
				return message{}, errMessage
			}
		}
	}
	return m, nil
}

// number parses a decimal that is not negative and that Lua can hold.
func number(s string) (n int64, ok bool) {
	v, err := strconv.ParseUint(s, 10, 53)
	return int64(v), err == nil
}
