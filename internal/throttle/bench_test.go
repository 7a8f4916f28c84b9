package throttle

import (
	"fmt"
	"testing"
)

func names(n int, format string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

func BenchmarkSuccess(b *testing.B) {
	g := New(Limits{})
	accounts := names(1<<12, "user%d@example.com")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a, _ := g.Begin("203.0.113.7", accounts[i&(1<<12-1)])
		a.Succeeded()
	}
}

// BenchmarkFullTables measures attempts of many addresses and accounts with full tables, when
// little is in the processor's cache.
func BenchmarkFullTables(b *testing.B) {
	g := New(Limits{})
	const n = 1 << 17
	addresses, accounts := make([]string, n), names(n, "user%d@example.com")
	for i := range n {
		addresses[i] = fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff)
	}
	for i := range n {
		a, _ := g.Begin(addresses[i], accounts[i])
		a.Succeeded()
		a, _ = g.Begin(addresses[i], accounts[i])
		a.Failed()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a, _ := g.Begin(addresses[i&(n-1)], accounts[i*7919&(n-1)])
		a.Succeeded()
	}
}

func BenchmarkParallel(b *testing.B) {
	g := New(Limits{})
	accounts := names(1<<12, "user%d@example.com")
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			a, _ := g.Begin("203.0.113.7", accounts[i&(1<<12-1)])
			a.Succeeded()
		}
	})
}

func BenchmarkRefused(b *testing.B) {
	g := New(Limits{Address: Rate{Burst: 1, Every: 1 << 55}, Reserve: Rate{Burst: 1, Every: 1 << 55}})
	for range 2 {
		a, _ := g.Begin("203.0.113.7", "first")
		a.Failed()
		a, _ = g.Begin("203.0.113.7", "second")
		a.Failed()
	}
	b.ReportAllocs()
	for b.Loop() {
		if a, _ := g.Begin("203.0.113.7", "nobody@example.com"); a != nil {
			b.Fatal("let through")
		}
	}
}

func BenchmarkKeys(b *testing.B) {
	g := New(Limits{})
	for name, account := range map[string]string{"ascii": "somebody@example.com", "wide": "Ольга@пример.рф"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.secret.account(account)
			}
		})
	}
	b.Run("address", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.secret.address("2001:db8:85a3::8a2e:370:7334")
		}
	})
}

// BenchmarkShared is BenchmarkSuccess with a failure each, where other processes are told.
func BenchmarkShared(b *testing.B) {
	g := NewShared(Limits{}, [32]byte{})
	g.Exchange(2)
	accounts := names(1<<12, "user%d@example.com")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a, _ := g.Begin("203.0.113.7", accounts[i&(1<<12-1)])
		a.Succeeded()
		a, _ = g.Begin("203.0.113.7", accounts[i&(1<<12-1)])
		a.Failed()
	}
}
