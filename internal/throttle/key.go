package throttle

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// secret makes keys of names. What it gives is a part of a SHA-256 that begins with the secret, so no key tells its
// name, and nobody outside can find two names of one key or of one set.
type secret [32]byte

const hashed = 256 // bytes up to which hashing allocates nothing

// address is the key of an address, 0 where there is none.
func (s *secret) address(address string) uint64 {
	if address == "" {
		return 0
	}
	b := append(append(make([]byte, 0, hashed), s[:]...), 'a')
	return sum(appendAddress(b, address))
}

// wide is the key of the IPv6 /48 that an address is in, 0 where there is none.
func (s *secret) wide(address string) uint64 {
	network, ok := wide(address)
	if !ok {
		return 0
	}
	b := append(append(make([]byte, 0, hashed), s[:]...), 'w')
	return sum(network.AppendTo(b))
}

// name is the key of a name of that kind, 0 where there is none.
func (s *secret) name(kind byte, name string) uint64 {
	if name == "" {
		return 0
	}
	return sum(append(append(append(make([]byte, 0, hashed), s[:]...), kind), name...))
}

// account is the key of an account, 0 where there is none.
func (s *secret) account(account string) uint64 {
	b := append(append(make([]byte, 0, hashed), s[:]...), 'u')
	named := appendAccount(b, account)
	if len(named) == len(b) {
		return 0
	}
	return sum(named)
}

func sum(b []byte) uint64 {
	h := sha256.Sum256(b)
	return max(1, binary.LittleEndian.Uint64(h[:8]))
}

// Network is what an address is counted as: IPv4 whole, also where IPv6 stands for it, IPv6 by its /64, which one
// client has all of, without zone; port, brackets and quotes are dropped. Anything else is left as it is.
func Network(address string) string { return string(appendAddress(nil, address)) }

// Wide returns the IPv6 /48 that an address or a Network is in: one customer of a provider, or of a free tunnel, may
// have all of it. Anything else is returned as Network returns it.
func Wide(address string) string {
	if network, ok := wide(address); ok {
		return network.String()
	}
	return Network(address)
}

const wideBits = 48

func wide(address string) (netip.Prefix, bool) {
	ip, err := Parse(address)
	if err != nil {
		network, err := netip.ParsePrefix(address)
		if err != nil {
			return netip.Prefix{}, false
		}
		ip = network.Addr()
	}
	if ip = unmap(ip); ip.Is4() {
		return netip.Prefix{}, false
	}
	network, _ := ip.Prefix(wideBits) // fails for no IPv6 address
	return network, true
}

func appendAddress(b []byte, address string) []byte {
	ip, err := Parse(address)
	if err != nil {
		return append(b, address...)
	}
	if ip = unmap(ip); ip.Is4() {
		return ip.AppendTo(b)
	}
	network, _ := ip.Prefix(64) // drops the zone, and fails for no IPv6 address
	return network.AppendTo(b)
}

// nat64 is where translators between IPv4 and IPv6 put the whole of IPv4 (RFC 6052): one /64, and one client for each.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// unmap returns the IPv4 address that an IPv6 one stands for, or ip.
func unmap(ip netip.Addr) netip.Addr {
	if nat64.Contains(ip.WithZone("")) {
		b := ip.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip.Unmap()
}

// Parse reads an IP address as headers have it: bare, quoted, in brackets, with a port.
func Parse(address string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip, nil // as it stands: a zone may end with a space
	}
	text := within(strings.TrimSpace(address), `"`, `"`)
	ip, err := netip.ParseAddr(within(text, "[", "]"))
	if err == nil {
		return ip, nil
	}
	pair, err := netip.ParseAddrPort(text)
	return pair.Addr(), err
}

// within takes a pair of marks off, where both are there.
func within(text, first, last string) string {
	if inside, ok := strings.CutPrefix(text, first); ok {
		if inside, ok = strings.CutSuffix(inside, last); ok {
			return inside
		}
	}
	return text
}

// Account is what an account is counted as: without space around, all cases alike.
func Account(account string) string { return string(appendAccount(nil, account)) }

// appendAccount appends what an account is counted as: without space around, all cases alike.
func appendAccount(b []byte, account string) []byte {
	for _, r := range strings.TrimSpace(account) {
		b = utf8.AppendRune(b, fold(r))
	}
	return b
}

// fold gives the least of the runes that differ in case alone: ToLower would leave some apart that EqualFold does not.
func fold(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z':
		return r - 'a' + 'A'
	case r < utf8.RuneSelf:
		return r
	case r == '\u0130', r == '\u0131': // the i with and without its dot: strings.ToLower and ToUpper make them plain
		return 'I'
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}
