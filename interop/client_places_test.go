package interop

import (
	"io"
	"net/http"
	"testing"

	"github.com/z-open/socketauth"
)

// serveHTML serves an app with a page at /page, which finds npm's packages below /modules/.
func serveHTML(t *testing.T, html string, change options) *app {
	t.Helper()
	modules := http.StripPrefix("/modules/", http.FileServer(http.Dir("node_modules")))
	return serve(t, setup{
		options: func(o *socketauth.Options[string]) {
			o.ClientPath = "/socketauth/"
			if change != nil {
				change(o)
			}
		},
		server: func(s *http.Server) {
			pages := http.NewServeMux()
			pages.Handle("/", s.Handler)
			pages.Handle("GET /modules/", modules)
			pages.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,">`+html)
			})
			s.Handler = pages
		},
	})
}

// TestClientWithoutPage: on a server that renders pages the client does nothing, and where there is
// no WebSocket it says so once.
func TestClientWithoutPage(t *testing.T) {
	// Guards: connect threw on such a server, and without a WebSocket it tried for ever.
	t.Parallel()
	d := node(t, "socket.io-client-4.8.4", "helper_node.mjs", "http://app.example")
	d.hears("no url", "tells", []any{"signed-out"}, "no_url", true, false, false, "offline", nil)
	const noURL = "offline: no_url"
	d.hears("no url, but a token", "tells", []any{"connecting", noURL, "signed-out: logged_out_here"}, "no_url", true, false, false, "offline", nil)
	d.hears("no WebSocket", "tells", []any{"signed-out"}, "no_websocket", true, false, false, "offline", nil)
	const noWebSocket = "offline: no_websocket"
	d.hears("no WebSocket, but a token", "tells", []any{"connecting", noWebSocket, "signed-out: logged_out_here"}, "no_websocket", true, false, false, "offline", nil)
	d.hears("process", "tells", 0, 0)
	d.done()
}

// TestClientReact: a component that React's StrictMode makes twice is signed in by the code of its
// link, which can be used once.
func TestClientReact(t *testing.T) {
	// Guards: with storage: null the code was lost with the first of the two clients.
	a := serveHTML(t, `
		<div id="root"></div>
		<script src="/modules/react/umd/react.development.js"></script>
		<script src="/modules/react-dom/umd/react-dom.development.js"></script>
		<script type="module">
			import { connect } from "/socketauth/socketauth.js";
			const { createElement, StrictMode, useEffect, useState } = React;
			globalThis.made = 0;
			function App() {
				const [state, setState] = useState("none");
				useEffect(() => {
					globalThis.made++;
					const client = globalThis.client = connect({ storage: null });
					client.on("state", setState);
					return () => client.close();
				}, []);
				return createElement("output", { id: "status" }, state);
			}
			const root = ReactDOM.createRoot(document.getElementById("root"));
			globalThis.render = () => root.render(createElement(StrictMode, null, createElement(App)));
			globalThis.leave = () => root.render(null);
			render();
		</script>`, func(o *socketauth.Options[string]) {
		o.AppURL = func(code string) string { return "/page#code=" + code }
	})
	d := chromium(t, "helper_browser.mjs", "react", a.url)
	d.hears("tab", "is", "online")
	d.hears("tab", "tells", []any{2, "online"})
	d.hears("tab", "user", "alice")
	d.hears("tab", "is", "online") // after it was removed and rendered again
	d.hears("tab", "tells", []any{4, "online"})
	d.hears("tab", "is", "signed-out")
	d.hears("tab", "is", "signed-out")
	d.done()
	noAlarm(t, a)
	sessions(t, a, "alice", 0)
}

// TestClientVue: a client works when Vue has wrapped it in a proxy.
func TestClientVue(t *testing.T) {
	// Guards: reactive and ref wrap the client in a proxy, on which every member threw.
	a := serveHTML(t, `
		<div id="app"></div>
		<script type="module">
			import { createApp, h, isProxy, reactive, ref } from "/modules/vue/dist/vue.esm-browser.js";
			import { connect } from "/socketauth/socketauth.js";
			globalThis.client = reactive(connect());
			globalThis.other = ref(connect({ storage: null }));
			globalThis.isProxy = isProxy;
			createApp({
				data: () => ({ client, state: "none" }),
				mounted() { this.client.on("state", (state) => { this.state = state; }); },
				render() { return h("output", { id: "status" }, this.state + " " + this.client.shared); },
			}).mount("#app");
		</script>`, nil)
	d := chromium(t, "helper_browser.mjs", "vue", a.url)
	d.hears("tab", "is", "online")
	d.hears("tab", "user", "alice")
	d.hears("tab", "tells", []any{true, true, true, "online true", true, "alice"})
	d.hears("tab", "tells", []any{"alice", "online", false})
	d.hears("tab", "tells", []any{true, true, nil})
	d.done()
	sessions(t, a, "alice", 0)
}

// TestClientImportMap: react.js, with React 18, and vue.js work as the server serves them, where an
// import map names the framework's package.
func TestClientImportMap(t *testing.T) {
	a := serveHTML(t, `
		<script type="importmap">{"imports": {
			"react": "data:text/javascript,export const { useEffect, useInsertionEffect, useRef, useSyncExternalStore } = React",
			"vue": "/modules/vue/dist/vue.esm-browser.js"
		}}</script>
		<div id="react"></div><div id="vue"></div>
		<script src="/modules/react/umd/react.development.js"></script>
		<script src="/modules/react-dom/umd/react-dom.development.js"></script>
		<script type="module">
			import { createApp, h, reactive, ref } from "vue";
			import { connect } from "/socketauth/socketauth.js";
			import { useEvent, useSocketAuth } from "/socketauth/react.js";
			import * as vue from "/socketauth/vue.js";
			const client = globalThis.client = connect();
			const { createElement, StrictMode, useState } = React;
			function App() {
				const { state, user } = useSocketAuth(client);
				const [lines, setLines] = useState([]);
				useEvent(client, "news", (text) => setLines([...lines, text]));
				return createElement("output", null, [state, user, ...lines].join(" "));
			}
			ReactDOM.createRoot(document.getElementById("react")).render(createElement(StrictMode, null, createElement(App)));
			createApp({
				setup() {
					const given = ref(reactive(client)); // in proxies
					const session = reactive(vue.useSocketAuth(given));
					const lines = ref([]);
					vue.useEvent(given, () => "news", (text) => lines.value.push(text));
					return () => h("output", [session.state, session.user, ...lines.value].join(" "));
				},
			}).mount("#vue");
		</script>`, nil)
	d := chromium(t, "helper_browser.mjs", "importMap", a.url)
	for _, text := range []string{"signed-out ", "online alice", "online alice one two", "signed-out  one two"} {
		d.hears("tab", "tells", []any{text, text})
	}
	d.done()
	sessions(t, a, "alice", 0)
}
