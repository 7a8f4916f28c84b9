// Package histories attacks the rotation of tokens (DESIGN section 5) with random histories, for tests alone.
//
// A history is one run of a small world from one seed: honest devices with a storage and one or two tabs, thieves who
// copied a storage, an operator who revokes, a network, a server and a Blacklist. All of it happens in virtual time, in
// the order of an event queue, so steps overlap in every way that messages can. Four parts can be read on their own:
//
//   - machine.go is the reference: a naive Blacklist written from the words of the contract, which remembers everything.
//     It can be given one of five faults, each of which the histories must find.
//   - device.go, thief.go and operator.go are the people; network.go is what happens between them and the server.
//   - server.go plays the server's side of a presentation, with hooks that take time and a store that fails before or
//     after it has applied a step.
//   - ledger.go is the truth: who is honest, who stole, what was stored where, which presentations and confirmations a
//     store accepted. The invariants are computed from it alone, never from the reference.
//
// What is assumed of the world, as the contract does: a frame on a socket that its client gave up on arrives within
// Timeout of that, or never; and an honest client presents at most three times while such a frame is on its way into the
// store, which is Timeout and what the app's hooks and a failing store add to it.
package histories
