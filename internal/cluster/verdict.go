package cluster

// verdict is what becomes of a message that was heard.
type verdict uint8

const (
	accepted  verdict = iota
	own               // of this node
	copied            // another copy of it came on another topic
	left              // on a topic that this node has left
	unknown           // of a node that has not named this node yet
	malformed         // not of this form, or in a place where it does not belong
	foreign           // of another version
	forged            // its MAC is wrong
	stale             // its time is too far from now
	repeated          // heard before, or older than what was heard before on its topic
	departed          // of a node that has said goodbye
	clash             // of a node whose name another one has
	crowded           // of more nodes than are remembered
	verdicts
)

// reasons are how refused messages are described in logs. Verdicts without one are usual.
var reasons = [verdicts]string{
	malformed: "they are not in the form that this version knows",
	foreign:   "they are of another version of the library, which has to be the same in all processes",
	forged:    "their MAC is wrong: their sender has another key, or somebody else writes to the broker",
	repeated:  "they come again, or after later ones: the broker or somebody else repeats them",
	departed:  "their sender has said goodbye: somebody repeats them",
	clash:     "their sender has the name of another process",
	crowded:   "there are too many processes",
}
