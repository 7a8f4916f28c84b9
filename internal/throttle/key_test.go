package throttle

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"
)

func foldAddress(s string) string { return string(appendAddress(nil, s)) }
func foldAccount(s string) string { return string(appendAccount(nil, s)) }

func TestAddresses(t *testing.T) {
	// Guards which spellings of an address count as one.
	for want, all := range map[string][]string{
		"192.0.2.1":    {"192.0.2.1", "::ffff:192.0.2.1", "::FFFF:c000:201", " 192.0.2.1 ", "192.0.2.1:443", "[::ffff:192.0.2.1]:443", `"192.0.2.1:443"`, `"192.0.2.1"`, "64:ff9b::c000:201", "[64:ff9b::192.0.2.1]:443"},
		"64:ff9b::/64": {"64:ff9b::1:0:0"}, // outside the translators' prefix

		"2001:db8::/64":     {"2001:db8::1", "2001:DB8:0:0:ffff::", "2001:db8::1%eth0", "[2001:db8::1]", "[2001:db8::2]:443", `"[2001:db8::1]"`, `"[2001:db8::1]:443"`},
		"2001:db8:0:1::/64": {"2001:db8:0:1::"},
		"fe80::/64":         {"fe80::1%eth0", "fe80::1%eth1"},
		"@":                 {"@"},
		"proxy, client":     {"proxy, client"},
		`"192.0.2.1`:        {`"192.0.2.1`},
		"192.0.2.256":       {"192.0.2.256"},
		"192.0.2.01":        {"192.0.2.01"},
		" ":                 {" "},
	} {
		for _, a := range all {
			if got := foldAddress(a); got != want {
				t.Errorf("%q counts as %q, want %q", a, got, want)
			}
		}
	}
}

func TestAccounts(t *testing.T) {
	// Guards which spellings of an account count as one.
	for _, all := range [][]string{
		{"Anna@Example.com", "anna@example.com", " ANNA@EXAMPLE.COM\n", "\u00a0anna@example.com"},
		{"K", "k", "\u212a"}, // the Kelvin sign
		{"\u03a3", "\u03c3", "\u03c2"},
		{"Straße", "STRA\u1e9eE", "ſtraße"},
	} {
		for _, a := range all {
			if foldAccount(a) != foldAccount(all[0]) {
				t.Errorf("%q and %q are two accounts", a, all[0])
			}
		}
	}
	if foldAccount("a b") == foldAccount("ab") {
		t.Error("space inside was removed")
	}
}

func TestKeysAreSecret(t *testing.T) {
	// Guards that keys depend on the secret and on the kind of the name.
	g, other := New(Limits{}), New(Limits{})
	if g.secret.account("anna") != g.secret.account(" Anna") || g.secret.account("anna") == g.secret.account("otto") {
		t.Error("an account has two keys, or two accounts have one")
	}
	if g.secret.account("anna") == other.secret.account("anna") {
		t.Error("an account has the same key in two guards")
	}
	if g.secret.account("anna") == g.secret.address("anna") {
		t.Error("an account and an address have the same key")
	}
}

// FuzzAddress checks that the spellings of an address count as one, and other networks do not.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1%eth0", "[::1]:80", "[::1", "1.2.3.4:99999", "::%", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		folded := foldAddress(s)
		if again := foldAddress(folded); again != folded {
			t.Errorf("%q folds to %q, which folds to %q", s, folded, again)
		}
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		for _, same := range []string{ip.String(), ip.StringExpanded(), ip.WithZone("x").String(), netip.AddrPortFrom(ip, 80).String()} {
			if foldAddress(same) != folded {
				t.Errorf("%q folds to %q, but %q to %q", s, folded, same, foldAddress(same))
			}
		}
		if ip = unmap(ip); ip.Is4() {
			if mapped := netip.AddrFrom16(ip.As16()); foldAddress(mapped.String()) != folded {
				t.Errorf("%q is not %q once mapped", s, folded)
			}
			return
		}
		near, far := ip.As16(), ip.As16()
		near[15] ^= 1
		far[7] ^= 1
		if foldAddress(netip.AddrFrom16(near).String()) != folded && !unmap(netip.AddrFrom16(near)).Is4() {
			t.Errorf("%q and another address in its /64 have different keys", s)
		}
		if foldAddress(netip.AddrFrom16(far).String()) == folded {
			t.Errorf("%q and another /64 have the same key", s)
		}
	})
}

// plain replaces the Turkish i's, which strings.ToLower and ToUpper make plain but EqualFold does
// not.
func plain(account string) string {
	return strings.NewReplacer("\u0130", "i", "\u0131", "i").Replace(strings.TrimSpace(account))
}

// FuzzAccount checks that names count as one account if strings.EqualFold takes them for equal.
func FuzzAccount(f *testing.F) {
	for _, s := range []string{"", " Anna ", "\u212a", "STRASSE", "\u03c2", "\xff", "\u0130"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		folded := foldAccount(a)
		if again := foldAccount(folded); again != folded {
			t.Errorf("%q folds to %q, which folds to %q", a, folded, again)
		}
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		for _, same := range []string{strings.ToUpper(a), strings.ToLower(a), b} {
			alike := strings.EqualFold(plain(a), plain(same))
			if alike != (foldAccount(same) == folded) {
				t.Errorf("%q and %q: strings.EqualFold says otherwise", a, same)
			}
		}
	})
}
