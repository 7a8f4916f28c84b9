// The client with a server that is made up, and a clock that is turned by hand:
//
//   node helper_unit.mjs
//
// Each test that passes is a line; one that fails ends the process.
import { tests as login } from './helper_unit_login.mjs'
import { tests as session } from './helper_unit_session.mjs'
import { tests as logouts } from './helper_unit_logouts.mjs'
import { tests as storage } from './helper_unit_storage.mjs'
import { tests as turns } from './helper_unit_turns.mjs'
import { tests as refresh } from './helper_unit_refresh.mjs'
import { tests as tokens } from './helper_unit_tokens.mjs'
import { tests as requests } from './helper_unit_requests.mjs'
import { tests as stepUp } from './helper_unit_stepup.mjs'
import { tests as binding } from './helper_unit_binding.mjs'
import { tests as proofs } from './helper_unit_proofs.mjs'
import { tests as snapshot } from './helper_unit_snapshot.mjs'
import { tests as events } from './helper_unit_events.mjs'
import { closeAll } from './helper_unit_kit.mjs'
import { print } from './peer.mjs'

const tests = { ...login, ...session, ...logouts, ...storage, ...turns, ...refresh, ...tokens, ...requests, ...stepUp, ...binding, ...proofs, ...snapshot, ...events }

for (const [name, test] of Object.entries(tests)) {
  await test()
  closeAll()
  print({ socket: 'unit', event: 'passed', args: [name] })
}
print({ socket: 'unit', event: 'end', args: [] })
process.exit()
