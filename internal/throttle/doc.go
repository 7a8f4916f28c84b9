// Package throttle limits guessing of passwords and tokens. It counts failures for each address,
// each account and each pair of the two, and locks nobody out for long. It does not depend on HTTP.
//
//	attempt, retryAfter := guard.Begin(address, account) // before the expensive work
//	if retryAfter > 0 {
//		return tooMany(retryAfter)
//	}
//	defer attempt.Void() // in case nothing else ends it
//	...
//	attempt.Succeeded() // or attempt.Failed()
//
// If the check is cheap, as with a signed token, check first and call Begin only for what is
// invalid. Then an address whose budget is spent does not stop valid tokens.
//
// # Who is let through
//
// An attempt takes its part of all its budgets when it begins, and gives it back unless it fails.
// So concurrent attempts are limited like successive ones, and successes cost nothing. A pair is
// fresh if it has not failed for 5 minutes (exactly: one failure is allowed in each 5 minutes), and
// known good for 14 days after a success.
//
//	budget         in a row  then one in  for whom
//	pair           10        10 s         all attempts with an address and an account
//	account        20        5 s          all but known good pairs; if it is spent, fresh pairs pass
//	address        60        2 s          all but known good pairs
//	its reserve    8         2 s          fresh pairs, once the address is spent; the lower half is for
//	                                      those that were told to come back, and do
//
// IPv6 addresses count by their /64, all of which one client has. A /48, all of which one customer
// may have, also has the address budgets, reserves and concurrent attempts of 16 addresses. At one
// account it has the pair budget and the freshness of one address: all pairs that are not known
// good count at an account by their /48.
//
// An attempt that names two accounts, because it is not known which field the app reads, takes its
// part of both. It is known good if the two together succeeded before.
//
// If no address is known, because all clients come through a proxy that is not configured, mostly
// the account alone is counted. What the proxy may have said about the client is counted as a pair
// with the account, so that one client cannot lock the account. It gives no advantage, since it may
// be made up. A device that proves that it was let in to the account before has the budget of a
// pair instead, and shares with all such devices of the account a second account budget. If it was
// let in to two accounts that were named together, they count as one account, separate from both.
//
// In addition, an address may have 50 attempts in progress, whether or not they are going to fail.
// Even many users who log in at the same moment are fewer, and more would keep others from the work
// itself, such as a queue of passwords to hash.
//
// Budgets do not become negative: a lock does not grow, and ends with the attack.
//
// # What an attacker gets
//
//	from                            at                   in a row   then an hour
//	1 address                       one account          10         360
//	N addresses                     one account          20 + N     the lesser of 360 N and 720 + 12 N
//	1 IPv6 /48                      one account          10         360
//	1 address                       endless accounts     68         3,600
//	1 IPv6 /48                      endless accounts     1,088      57,600
//	1 address, no account named     (tokens)             60         1,800
//	anywhere, no address known      one account          20         720
//	the same, as the proxy tells    one account          10         360
//	the same, devices let in before one account          20 more    720 more
//
// # What others suffer
//
//	who                                             under                          waits at most
//	owner, where they logged in within 14 days      guesses from anywhere else     0
//	owner, fresh address                            any botnet                     0
//	the same after a slip                           a botnet of 3 or more          5 min, 5 s once it stops
//	neighbour who logged in there within 14 days    guesses at other accounts      0
//	neighbour, fresh                                bad tokens, or one account     0
//	neighbour, fresh                                up to 100 accounts             4 s
//	neighbour, fresh                                endless names, 1,000 a second  4 s
//	owner, no address known, at a device known      any botnet                     0
//	the same, another device, as the proxy tells    guesses of one other client    0
//	the same, another device                        a botnet, or what is made up   until the attack ends
//
// The owner is the user of the account that is attacked; a neighbour is a user behind the
// attacker's address. Four attacks are not prevented:
//
//   - Someone who guesses at an account from its owner's address or /64 (or /48, if the pair is not
//     known good) cannot be distinguished from the owner. The pair is locked for both meanwhile.
//   - Someone who tries endless names at a spent address, and each name again when told to, cannot
//     be distinguished from many fresh neighbours. In a simulation such a neighbour waits 25 s on
//     average at 20 attempts a second, and 6 min at 200. (To let in whoever is known good elsewhere
//     would help, but reveal which accounts exist.)
//   - Someone who keeps 50 attempts in progress keeps out others behind the same address.
//   - At a spent address, others behind it can find out whether a pair is known good there.
//
// # Memory
//
// Memory is bounded: 16,384 addresses and 32,768 pairs of 40 bytes, 32,768 accounts, 65,536 known
// pairs and 16,384 waiting ones of 24 bytes, which is 4.7 MB when all are in use. Names are kept as
// 64 bits of a keyed hash. A refused attempt takes a slot only among the waiting ones. The count of
// attempts in progress has at most two entries for each.
//
// If a set of eight slots is full, the entry whose budget is full again first is replaced, so those
// that have spent most stay longest. A flood of names with one failure each replaces other entries
// with one failure, which gains one guess for each guess made, but not locked entries. Of known
// pairs, those not seen for longest are replaced first. Whoever logs in to 65,536 of them takes
// away the privilege of the others, which are then treated like owners at a fresh address. Of one
// account and one /48, at most eight pairs are known. Nothing is kept when the process ends.
//
// Begin and the end of an attempt take about 1 µs together, a third of it for the hashes, and a
// refusal 0.5 µs. A single lock is sufficient, since hashing a password takes 50,000 times as long.
//
// # Several processes
//
// Guards that NewShared made with one key tell each other once a second what failed, as sums for
// each budget, and which pairs have become known good. Names are sent as their keyed hashes. So a
// guesser who sends each guess to all of N processes has one budget in the long run:
//
//	from                    at                  in a row, of 3 processes  then an hour
//	1 address               one account         12                        360
//	anywhere, none known    one account         21                        720
//	M addresses             one account         21 + 3 M                  720 + 12 M
//	1 address               endless accounts    68 at each, once          3,600
//	1 address               (tokens)            60 at each, once          1,800
//
// What others suffer is as above: in a simulation of three processes, a fresh neighbour waits 4 s
// at most, also where each attempt comes to the next process.
//
// Two rules see to that. Of the burst of a pair or an account, a process lets through its share in
// two seconds, after which it has heard what the others have let through: a half, a third or a
// quarter, and never less. And what others have let through meanwhile is counted although the
// budget was spent already: it may lack one token for each other process, and at most seven.
// Otherwise each token that comes back would be one guess at each process.
//
// News lock nothing for longer than that: N times as long as one process would, and at most eight
// times, if guesses were sent to all N at once; a pair 10 s times N, for instance. They make nobody
// known good who did not log in somewhere, and give nothing back: a success elsewhere clears no
// failure. What one message says about a budget counts at most as its burst.
//
// If the broker is down, or no other process is heard of, each counts for itself: a guesser has N
// budgets until they hear from each other again. Failures of that time are not told afterwards.
//
//	what                                       is shared
//	failures of addresses, accounts and pairs  yes
//	known good pairs                           yes
//	failures at devices that were let in       yes
//	attempts in progress                       no: they are limited to protect one process's work
//	turns of those who were told to come back  no: at another process they wait for a new turn
//	refusals recorded (FailedHere)             no: they limit what one process writes
//
// This takes up to 0.9 MB more. A message has at most 1,024 budgets of 11 bytes each. If more fail
// in a second, one with the fewest failures of eight is left out. Messages must come from such
// guards, and be heard once: one that is heard twice is counted twice.
package throttle
