-- KEYS: the cache keys. ARGV: time to live in seconds, width of the version at a body's end, what stands before it, and
-- then one body a key. A body replaces what is there unless that is newer: versions are fixed-width times, so text order
-- is time order. A value without a whole version is damaged, and must not win. When the memory is full nothing is stored,
-- but what would have been replaced is deleted: it is old. Returns how many bodies found no room.
local ttl, width, mark = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local refused = 0
for i, key in ipairs(KEYS) do
  local body = ARGV[i + 3]
  local present = redis.call('GETRANGE', key, -(width + #mark), -1)
  local whole = string.sub(present, 1, #mark) == mark and string.sub(present, -3) == 'Z"}'
  if not whole or string.sub(present, -width) <= string.sub(body, -width) then
    -- Once it has deleted something, a script may store beyond the limit: after one refusal it does not try again.
    if refused > 0 or redis.pcall('SET', key, body, 'EX', ttl).err then
      redis.call('UNLINK', key)
      refused = refused + 1
    end
  end
end
return refused
