// Package throttle bounds guessing: failures are counted for each address, each account and each pair of the two, and
// nobody is locked out for long. It knows no HTTP.
//
//	attempt, retryAfter := guard.Begin(address, account) // before the expensive work
//	if retryAfter > 0 {
//		return tooMany(retryAfter)
//	}
//	defer attempt.Void() // whatever has no other end
//	...
//	attempt.Succeeded() // or attempt.Failed()
//
// Where looking is cheap, as with a signed token, look first and Begin for what turned out bad alone: then an address
// that is spent stops nobody's good token.
//
// # Who is let through
//
// An attempt takes its part of all its budgets at once and gives it back unless it fails, so attempts that come
// together are bounded like those that come in a row, and successes cost nothing. A pair is fresh if it has not failed
// for 5 minutes (one failure in each 5 minutes, to be exact), and known good for 14 days after a success.
//
//	budget         in a row  then one in  for whom
//	pair           10        10 s         everybody who names both
//	account        20        5 s          all but known good pairs; a fresh pair goes past it once it is spent
//	address        60        2 s          all but known good pairs
//	its reserve    8         2 s          fresh pairs, once the address is spent; the lower half is for those that
//	                                      were told to come back, and do
//
// IPv6 addresses count by their /64, which one client has all of. A /48, which one customer may have, has besides the
// address budgets, reserves and attempts under way of 16 addresses, and at one account the pair and the freshness of one:
// all but pairs that are known good count at an account by their /48.
//
// An attempt that names two accounts, since it is not known which field the app reads, takes its part of both, and is
// known good where the two together succeeded before.
//
// Where no address is known, since all come by a proxy that nobody told of, the account alone is counted for most. What the
// proxy may have told of a client is counted as a pair with the account, so that one client cannot hold the account, and
// buys nothing, for it may be made up. A device that proves that it was let in to the account before has a pair's budget
// instead, and shares with all other such devices of the account another account's budget.
//
// Besides, an address has 50 attempts under way at most, whether they are going to fail or not: a crowd that logs in at
// once is fewer, and one that keeps more coming takes the work itself (a queue of passwords to hash) from all others.
//
// Nothing is spent below empty: a lock does not grow, and ends with the attack.
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
// Four things cannot be had. Who guesses at one's account from one's own address or its /64 (or its
// /48, where one is not known good) cannot be told from one: the pair is held for both while that goes on. Who brings endless names to a spent address, and each again when told
// to, cannot be told from a crowd of fresh neighbours: such a neighbour then waits, in the mean of a simulation, 25 s
// beside 20 tries a second and 6 min beside 200. (To let in whoever is known good elsewhere would help, and tell
// everybody which accounts exist.) Who keeps 50 attempts under way takes the turns of others behind the same address. And
// where an address is spent, others behind it can see whether a pair is known good there.
//
// # Memory
//
// Nothing grows: 16,384 addresses and 32,768 pairs of 40 bytes, 32,768 accounts, 65,536 known pairs and 16,384 waiting
// ones of 24: 4.7 MB at most, touched as it fills. Names are kept as 64 bits of a keyed hash. A refused attempt takes a
// place among the waiting alone, and what counts attempts under way has at most two entries for each. In a full set of
// eight the entry goes that is free again first, so who has spent most stays longest: a flood of names with a failure each washes out others of one failure, which is worth one guess more
// for each guess made, but not who is held. Known pairs go the longest unseen first: who logs in
// to 65,536 of them takes their privilege from the rest, who are then as owners at a fresh address; of one account and one
// /48 eight are known at most. All is forgotten with
// the process, and each process counts for itself.
//
// Begin and its end take about 1 µs together, a third of it for the hashes, a refusal 0.5 µs; one lock for all is not
// worth splitting beside passwords that take 50,000.
package throttle
