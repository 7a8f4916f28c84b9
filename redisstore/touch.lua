-- Makes sure that a bucket remembers, and returns its state and the time. ARGV: durable.
writing()
local e, err = recall(state(), ARGV[1] == '1')
if err then return err end
return {text(now), e}
