// Package histories tests the rotation of tokens (DESIGN section 5) with random histories. Only
// tests use it.
//
// A history is a simulation from one seed: honest devices with a storage and one or two tabs,
// thieves who copied a storage, an operator who revokes, a network, a server and a Blacklist. It
// runs in virtual time, in the order of an event queue, so steps overlap in every way that messages
// can. Five parts can be read on their own:
//
//   - machine.go is the reference: a simple Blacklist written from the text of the contract, which
//     remembers everything. It and the simulated server can be given a fault, and the histories must
//     find each.
//   - device.go and thief.go are the clients, revoke in history.go is the operator, and network.go
//     is the network between them and the server.
//   - server.go simulates the server's side of a presentation, with hooks that take time and a
//     store that fails before or after it has applied a step.
//   - fleet.go is several servers that share a store: the library's own, or simulated ones whose
//     clocks differ.
//   - identity.go is what a real server's app does about identities: roles that change, which a refresh
//     enforces, and users who prove again who they are.
//   - binding.go is how sessions are bound to keys and prove it. A thief has all tokens and proofs
//     that its victim has sent, but not the key: it must gain nothing by them and end nothing.
//   - exchange.go is how a tab of a real server's app has its token replaced by a request.
//   - ledger.go records what really happened: who is honest, who stole, what was stored where,
//     which presentations and confirmations a store accepted. The invariants are computed from it
//     alone, never from the reference.
//
// The simulation makes the same assumptions as the contract. A frame on a socket that its client
// gave up on arrives within Timeout, or never. An honest client presents at most ten times while
// such a frame may still reach the store, which takes up to Timeout and the time that the app's
// hooks and a failing store add.
package histories
