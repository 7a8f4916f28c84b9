// Package passkeys logs users in with passkeys (WebAuthn), which no other site can ask for.
package passkeys

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/z-open/socketauth"
)

// Passkeys are the passkeys of an app. The hooks are about its tables of users and passkeys.
type Passkeys struct {
	RP  *webauthn.WebAuthn // webauthn.New of the app's domain (RPID), name and origins
	Key []byte             // at least 32 random bytes, for nothing else, the same in all processes

	// User returns a user with their passkeys, or ErrInvalidCredentials if there is no such user.
	User func(ctx context.Context, id string) (webauthn.User, error)

	// Added stores a new passkey of a user.
	Added func(ctx context.Context, id string, passkey *webauthn.Credential) error

	// Used stores a passkey after a login whose challenge was made at that time, in microseconds. If
	// the challenge of the passkey's last login was not made before, it returns
	// ErrInvalidCredentials: this login has been before.
	Used func(ctx context.Context, passkey *webauthn.Credential, at int64) error
}

// Handle registers the event by which users add a passkey. A passkey lets in who has it for good,
// so it takes a login or a step-up of just now, not only a token.
func (p *Passkeys) Handle(srv *socketauth.Server) {
	srv.On("passkey:add", socketauth.RequireRecent(5*time.Minute)(p.add))
}

// add asks the client for a new passkey, with an event that the client acknowledges. Until the user
// has decided, later events of the socket wait.
func (p *Passkeys) add(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
	user, err := p.User(ctx, s.UserID())
	if err != nil {
		return nil, err
	}
	options, session, err := p.RP.BeginRegistration(user, webauthn.WithAuthenticatorSelection(selection),
		webauthn.WithExclusions(webauthn.Credentials(user.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return nil, err
	}
	reply, err := s.EmitWithAck(ctx, "passkey:create", options.Response)
	if err != nil {
		return nil, err
	}
	var created protocol.CredentialCreationResponse
	if err := reply.Decode(&created); err != nil {
		return nil, err
	}
	response, err := created.Parse()
	if err != nil {
		return nil, err
	}
	passkey, err := p.RP.CreateCredential(user, *session, response)
	if err != nil {
		return nil, err
	}
	return nil, p.Added(ctx, s.UserID(), passkey)
}

// selection asks for passkeys that know their user, and for devices that check who holds them.
var selection = protocol.AuthenticatorSelection{ResidentKey: "required", UserVerification: "required"}

// Challenge serves what a passkey has to sign. The server keeps nothing of it: it says itself when
// it was made.
func (p *Passkeys) Challenge(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write(p.challenge(time.Now().UnixMicro()))
}

func (p *Passkeys) challenge(at int64) []byte {
	mac := hmac.New(sha256.New, p.Key)
	_ = binary.Write(mac, binary.BigEndian, at) // a hash never fails
	return mac.Sum(binary.BigEndian.AppendUint64(nil, uint64(at)))
}

// FindUser is the hook Options.FindUserByCredentials. The page calls it by client.login.
func (p *Passkeys) FindUser(ctx context.Context, c socketauth.Credentials) (string, error) {
	response, err := protocol.ParseCredentialRequestResponseBytes([]byte(c.Get("passkey")))
	if err != nil {
		return "", errors.Join(socketauth.ErrInvalidCredentials, err)
	}
	user, err := p.User(ctx, string(response.Response.UserHandle))
	if err != nil {
		return "", err
	}
	signed := response.Response.CollectedClientData.Challenge
	session := webauthn.SessionData{Challenge: signed, UserID: user.WebAuthnID(), UserVerification: "required"}
	passkey, err := p.RP.ValidateLogin(user, session, response)
	challenge, _ := base64.RawURLEncoding.DecodeString(signed)
	at := int64(binary.BigEndian.Uint64(append(challenge, make([]byte, 8)...)))
	isFresh := hmac.Equal(challenge, p.challenge(at)) && time.Since(time.UnixMicro(at)) < 5*time.Minute
	if err != nil || !isFresh || passkey.Authenticator.CloneWarning {
		return "", errors.Join(socketauth.ErrInvalidCredentials, err)
	}
	return string(user.WebAuthnID()), p.Used(ctx, passkey, at)
}
