package engine

import "encoding/binary"

// maxNesting is how deeply json.Valid lets arrays and objects be nested.
const maxNesting = 10000

// ValidJSON reports whether data is one JSON value. It returns what json.Valid returns, in a
// fraction of the time.
func ValidJSON(data []byte) bool {
	var some [32]byte
	open := some[:0] // the brackets that are open
	i, isKey := 0, false
	for {
		if i = skipSpace(data, i); i == len(data) {
			return false
		}
		// A value begins here, or the name of a member.
		c := data[i]
		switch {
		case c == '"':
			if i = stringEnd(data, i+1); i < 0 {
				return false
			}
		case isKey:
			return false
		case c == '{' || c == '[':
			if len(open) == maxNesting {
				return false
			}
			open = append(open, c)
			if i = skipSpace(data, i+1); i == len(data) {
				return false
			}
			if data[i] != c+2 { // the bracket that closes it; '{' and '[' both have theirs two further on
				isKey = c == '{'
				continue
			}
			// It is empty, which the loop below finds.
		case c == '-' || '0' <= c && c <= '9':
			if i = numberEnd(data, i); i < 0 {
				return false
			}
		default:
			if i = literalEnd(data, i); i < 0 {
				return false
			}
		}
		if isKey {
			if i = skipSpace(data, i); i == len(data) || data[i] != ':' {
				return false
			}
			i, isKey = i+1, false
			continue
		}
		for { // after a value
			i = skipSpace(data, i)
			if len(open) == 0 {
				return i == len(data)
			}
			if i == len(data) {
				return false
			}
			last := open[len(open)-1]
			if data[i] == last+2 {
				open, i = open[:len(open)-1], i+1
				continue
			}
			if data[i] != ',' {
				return false
			}
			i, isKey = i+1, last == '{'
			break
		}
	}
}

// skipSpace returns the index of the first byte from i on that is not white space.
func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\r' || data[i] == '\n') {
		i++
	}
	return i
}

// isPlain has the bytes that stand for themselves in a JSON string.
var isPlain = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return plain
}()

// arePlain is isPlain for eight bytes at once.
func arePlain(eight uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	quote, backslash := eight^each*'"', eight^each*'\\' // a byte that is one of them is zero in the result
	// The subtraction sets the highest bit of each byte that is smaller than what is subtracted
	// from it. It may set that of a byte above one of those too.
	found := (quote-each)&^quote | (backslash-each)&^backslash | (eight-each*' ')&^eight
	return found&high == 0
}

// stringEnd returns the index after the string whose first character is at i, or -1 if that is not
// valid.
func stringEnd(data []byte, i int) int {
	for i < len(data) {
		for len(data)-i >= 8 && arePlain(binary.LittleEndian.Uint64(data[i:])) {
			i += 8
		}
		for i < len(data) && isPlain[data[i]] {
			i++
		}
		if i == len(data) {
			return -1
		}
		switch data[i] {
		case '"':
			return i + 1
		case '\\':
			if i = escapeEnd(data, i+1); i < 0 {
				return -1
			}
		default:
			return -1
		}
	}
	return -1
}

// escapeEnd returns the index after an escape whose backslash is before i, or -1 if it is not
// valid.
func escapeEnd(data []byte, i int) int {
	if i == len(data) {
		return -1
	}
	switch data[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
	default:
		return -1
	}
	if len(data)-i < 5 {
		return -1
	}
	for _, c := range data[i+1 : i+5] {
		if lower := c | 0x20; !('0' <= c && c <= '9') && !('a' <= lower && lower <= 'f') {
			return -1
		}
	}
	return i + 5
}

// numberEnd returns the index after the number that begins at i, or -1 if it is not valid.
func numberEnd(data []byte, i int) int {
	if data[i] == '-' {
		i++
	}
	switch first := i; {
	case i < len(data) && data[i] == '0':
		i++
	default:
		if i = digitsEnd(data, i); i == first {
			return -1
		}
	}
	if i < len(data) && data[i] == '.' {
		first := i + 1
		if i = digitsEnd(data, first); i == first {
			return -1
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		first := i + 1
		if first < len(data) && (data[first] == '+' || data[first] == '-') {
			first++
		}
		if i = digitsEnd(data, first); i == first {
			return -1
		}
	}
	return i
}

// digitsEnd returns the index of the first byte from i on that is not a digit.
func digitsEnd(data []byte, i int) int {
	for i < len(data) && '0' <= data[i] && data[i] <= '9' {
		i++
	}
	return i
}

// literalEnd returns the index after true, false or null at i, or -1 if there is none of them.
func literalEnd(data []byte, i int) int {
	for _, literal := range [...]string{"true", "false", "null"} {
		if len(data)-i >= len(literal) && string(data[i:i+len(literal)]) == literal {
			return i + len(literal)
		}
	}
	return -1
}
