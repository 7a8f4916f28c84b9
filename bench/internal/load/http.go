package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Login posts credentials to /login and returns the token of the answer.
func Login(ctx context.Context, h *http.Client, base, username, password string) (string, error) {
	body := `{"username":"` + username + `","password":"` + password + `"}`
	text, err := Do(ctx, h, http.MethodPost, base+"/login", body, http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		return "", err
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(text, &answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("login: %q", text)
	}
	return answer.Token, nil
}

// Do returns the body of the answer to a request, which has to have status 200.
func Do(ctx context.Context, h *http.Client, method, url, body string, header http.Header) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		r.Header = header
	}
	answer, err := h.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %q", method, url, answer.Status, text)
	}
	return text, err
}
