-- Makes sure that a bucket has a state, and returns it and the time. ARGV: durable.
writing()
local e, err = recall(state(), ARGV[1] == '1')
if err then return err end
return {text(now), e}
