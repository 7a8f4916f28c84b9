package cluster

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// The faults of addresses.
var (
	errAddressForm = errors.New(`it must be a scheme, http or https, a host and perhaps a port, and nothing after them: "http://10.0.0.5:8080"`)
	errAddressPort = errors.New("the port is not a number from 1 to 65535")
	errAddressAny  = errors.New("other processes cannot connect to the address that stands for all")
)

// CheckAddress returns an error if s is not the base URL of a process.
func CheckAddress(s string) error {
	const hosts = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
	u, err := url.Parse(s)
	if err != nil || len(s) > maxAddress || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		s != u.Scheme+"://"+u.Host || strings.Trim(u.Host, hosts) != "" {
		return errAddressForm
	}
	if strings.HasSuffix(u.Host, ":") || u.Port() != "" {
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
			return errAddressPort
		}
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() {
		return errAddressAny
	}
	return nil
}
