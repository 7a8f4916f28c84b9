package redisstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
)

// Users are spread over a fixed number of buckets. What belongs to a bucket is in one slot of a
// cluster, and the buckets are spread evenly over the slots:
//
//	PREFIX{TAG}          a hash: the state of the bucket
//	PREFIX{TAG}USER      a hash: the living sessions of a user, and what is remembered of the user
//	PREFIX{TAG}USERx     a hash: the sessions of a user that have ended
//
// USER is the first 128 bits of the SHA-256 of the user's id, so that keys are short whatever users
// are called.
const buckets = 64

// bucketTags are the hash tags of the buckets.
var bucketTags = func() (tags [buckets]string) {
	const width = slots / buckets
	for n, left := 0, buckets; left > 0; n++ {
		tag := strconv.FormatInt(int64(n), 36)
		if b := slotOf(tag) / width; tags[b] == "" {
			tags[b] = tag
			left--
		}
	}
	return tags
}()

// slots is how many a cluster has.
const slots = 16384

// slotOf returns the slot of a hash tag, its CRC-16/XMODEM.
func slotOf(tag string) int {
	var crc uint16
	for n := range len(tag) {
		crc ^= uint16(tag[n]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}

// user is where a user is kept.
type user struct {
	bucket int
	digest string
}

func userOf(id string) user {
	sum := sha256.Sum256([]byte(id))
	return user{bucket: int(binary.BigEndian.Uint32(sum[16:])) % buckets, digest: string(sum[:16])}
}

func (s *Store) bucketKey(bucket int) string { return s.bucketKeys[bucket] }
func (s *Store) livingKey(u user) string     { return s.bucketKeys[u.bucket] + u.digest }
func (s *Store) endedKey(u user) string      { return s.bucketKeys[u.bucket] + u.digest + "x" }

// keys are what a script about a user is given.
func (s *Store) keys(u user) []string {
	return []string{s.bucketKey(u.bucket), s.livingKey(u), s.endedKey(u)}
}

// channel is where changes are published.
func (s *Store) channel() string { return s.o.Prefix + "changes" + s.apart }

// parseKey returns which bucket and user a key belongs to. ok is false if it is no user's.
func (s *Store) parseKey(key string) (u user, ok bool) {
	rest, ok := strings.CutPrefix(key, s.o.Prefix+"{")
	if !ok {
		return user{}, false
	}
	tag, digest, _ := strings.Cut(rest, "}")
	switch {
	case len(digest) == 17 && digest[16] == 'x':
		digest = digest[:16]
	case len(digest) != 16:
		return user{}, false
	}
	for b := range bucketTags {
		if bucketTags[b] == tag {
			return user{b, digest}, true
		}
	}
	return user{}, false
}

// rawID returns the 128 bits of a session's or a token's id, and reports whether it is well-formed.
func rawID(id string) (raw string, ok bool) {
	if len(id) != 22 {
		return "", false
	}
	var b [16]byte
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(id))
	return string(b[:]), err == nil && n == len(b)
}

func textID(raw string) string { return base64.RawURLEncoding.EncodeToString([]byte(raw)) }
