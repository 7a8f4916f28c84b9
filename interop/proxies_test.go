package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProxies guards the configurations of docs/operations.md: behind nginx, HAProxy and Caddy all
// transports work with the oldest and the newest client, and the server sees the client's real
// address, not the one that the client claims.
func TestProxies(t *testing.T) {
	t.Parallel()
	program := buildExample(t, "deploy")
	for _, proxy := range []struct {
		name, needs, config string
		adapt               func(config, addr, certificate string) string // changes the configuration so that it runs without root
		command             func(config string) *exec.Cmd
	}{
		{"nginx", "nginx", "nginx.conf", adaptNginx, func(config string) *exec.Cmd {
			return exec.Command("nginx", "-p", filepath.Dir(config), "-c", config, "-e", "stderr")
		}},
		{"HAProxy", "haproxy", "haproxy.cfg", adaptHAProxy, func(config string) *exec.Cmd {
			return exec.Command("haproxy", "-db", "-f", config)
		}},
		{"Caddy", "caddy", "Caddyfile", func(config, addr, certificate string) string {
			config = strings.Replace(config, "app.example {", "https://"+addr+" {\n\ttls "+certificate+" "+certificate, 1)
			return "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + config
		}, func(config string) *exec.Cmd {
			return exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", config)
		}},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			path := "../examples/deploy/" + proxy.config
			config, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := exec.LookPath(proxy.needs); err != nil {
				t.Fatalf("%s is missing: run `apt-get install nginx-light haproxy caddy`", proxy.name)
			}
			dir := t.TempDir()
			certificate := filepath.Join(dir, "certificate.pem")
			writeCertificate(t, certificate)

			app, front := freeAddr(t), freeAddr(t)
			server := exec.Command(program, "-addr", app, "-host", "127.0.0.1", "-sessions", filepath.Join(dir, "sessions.db"))
			secret := make([]byte, 32)
			_, _ = rand.Read(secret)
			server.Env = append(os.Environ(), "APP_SECRET="+base64.StdEncoding.EncodeToString(secret))
			startServing(t, server, app)

			if n := strings.Count(string(config), "127.0.0.1:8080"); n != 1 {
				t.Fatalf("%s names the app %d times", path, n)
			}
			adapted := proxy.adapt(strings.Replace(string(config), "127.0.0.1:8080", app, 1), front, certificate)
			file := filepath.Join(dir, proxy.config)
			if err := os.WriteFile(file, []byte(adapted), 0o600); err != nil {
				t.Fatal(err)
			}
			command := proxy.command(file)
			command.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			startServing(t, command, front)

			for _, client := range []clientVersion{clients[0], clients[len(clients)-1]} {
				t.Run(client.version, func(t *testing.T) {
					d := nodeWith(t, []string{"NODE_EXTRA_CA_CERTS=" + certificate},
						"socket.io-client-"+client.version, "proxies.mjs", client.version, "https://"+front)
					for transports, final := range map[string]string{"websocket": "websocket", "polling": "polling", "polling websocket": "websocket"} {
						d.hears(transports, "outcome", final, "127.0.0.2")
					}
					d.done()
				})
			}
		})
	}
}

// adaptNginx makes a configuration of nginx complete, and such that it runs without root.
func adaptNginx(config, addr, certificate string) string {
	config = strings.Replace(config, "listen 443 ssl", "listen "+addr+" ssl", 1)
	config = strings.Replace(config, "/etc/ssl/app.example.crt", certificate, 1)
	config = strings.Replace(config, "/etc/ssl/app.example.key", certificate, 1)
	return "daemon off; pid nginx.pid; error_log stderr; events {}\nhttp {\naccess_log off;\n" + config + "}\n"
}

// adaptHAProxy makes a configuration of HAProxy such that it runs without root.
func adaptHAProxy(config, addr, certificate string) string {
	config = strings.Replace(config, "bind :443", "bind "+addr, 1)
	return strings.Replace(config, "/etc/ssl/app.example.pem", certificate, 1)
}

// writeCertificate writes a key and a self-signed certificate for 127.0.0.1 into one file.
func writeCertificate(t *testing.T, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	_ = pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
