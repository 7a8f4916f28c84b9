package redisstore

import "strings"

// agentPhrases are what user agents are made of, for the most part. A packed user agent has the
// byte 0x80 and more for each phrase. What is stored depends on their order: new ones go to the
// end, and none is ever taken out.
var agentPhrases = [...]string{
	"Mozilla/5.0 (",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
	"Mozilla/5.0 (Linux; Android ",
	"Mozilla/5.0 (iPhone; CPU iPhone OS ",
	"Mozilla/5.0 (iPad; CPU OS ",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X ",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:",
	"Mozilla/5.0 (Windows NT ",
	"Mozilla/5.0 (X11; ",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/",
	" like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/",
	" like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/",
	" like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/",
	" like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
	") AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
	") AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/",
	") AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/",
	") AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/",
	") AppleWebKit/605.1.15 (KHTML, like Gecko) Version/",
	") AppleWebKit/",
	" (KHTML, like Gecko) ",
	".0.0.0 Safari/537.36",
	".0.0.0 Mobile Safari/537.36",
	" Mobile Safari/537.36",
	" Safari/537.36",
	" Safari/605.1.15",
	" Mobile/15E148 Safari/604.1",
	" Mobile/15E148",
	" Safari/604.1",
	" Safari/",
	" Mobile/",
	") Gecko/20100101 Firefox/",
	"; rv:",
	" Firefox/",
	" Chrome/",
	" Version/",
	" Edg/",
	" EdgA/",
	" OPR/",
	" Vivaldi/",
	" YaBrowser/",
	" Electron/",
	" SamsungBrowser/",
	"SamsungBrowser/",
	"HeadlessChrome/",
	".0.0.0",
	"; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/",
	" Build/",
	"; Android ",
	"Android ",
	"Linux x86_64",
	"Linux; ",
	"Ubuntu; ",
	"Macintosh; ",
	"Windows NT 10.0",
	"Win64; x64",
	" like Mac OS X",
	" Mac OS X ",
	"iPhone",
	"CPU OS ",
	"compatible; ",
	"Mobile; ",
	"Tablet; ",
	"okhttp/",
	"Dart/",
	" (dart:io)",
	"CFNetwork/",
	" Darwin/",
	"Go-http-client/",
	"python-requests/",
	"axios/",
	"node-fetch",
	"curl/",
	"https://",
}

// phrasesBy are the phrases that begin with a byte.
var phrasesBy = func() (by [0x80][]byte) {
	for n, phrase := range agentPhrases {
		by[phrase[0]] = append(by[phrase[0]], byte(n))
	}
	return by
}()

// packAgent returns a user agent with phrases replaced, or false if it is not of ASCII alone.
func packAgent(agent string) (packed []byte, ok bool) {
	for n := range len(agent) {
		if agent[n] >= 0x80 {
			return nil, false
		}
	}
	packed = make([]byte, 0, 32)
	for len(agent) > 0 {
		best := -1
		for _, n := range phrasesBy[agent[0]] {
			if phrase := agentPhrases[n]; strings.HasPrefix(agent, phrase) && (best < 0 || len(phrase) > len(agentPhrases[best])) {
				best = int(n)
			}
		}
		if best < 0 {
			packed, agent = append(packed, agent[0]), agent[1:]
			continue
		}
		packed, agent = append(packed, 0x80+byte(best)), agent[len(agentPhrases[best]):]
	}
	return packed, true
}

func unpackAgent(packed []byte) (agent string, ok bool) {
	var b strings.Builder
	for _, c := range packed {
		switch {
		case c < 0x80:
			b.WriteByte(c)
		case int(c-0x80) < len(agentPhrases):
			b.WriteString(agentPhrases[c-0x80])
		default:
			return "", false
		}
	}
	return b.String(), true
}
