-- KEYS: the cache keys. ARGV: the time to live in seconds, the width of the version at the end of a body, the bytes before
-- the version, and then one body per key. A body replaces the stored value unless that is newer. Versions are times with
-- a fixed width, so text order equals time order. A stored value without a complete version is damaged and is replaced.
-- If a body cannot be stored, the stored value is deleted because it is outdated. Returns how many bodies were not stored
-- because the memory is full. Any other refusal is an error.
local ttl, width, mark = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local refused = 0
for i, key in ipairs(KEYS) do
  local body = ARGV[i + 3]
  local present = redis.call('GETRANGE', key, -(width + #mark), -1)
  local whole = string.sub(present, 1, #mark) == mark and string.sub(present, -3) == 'Z"}'
  if not whole or string.sub(present, -width) <= string.sub(body, -width) then
    -- After a script has deleted a key, Redis lets it write beyond the memory limit. So after one refused SET the script
    -- stores nothing more.
    local result = refused == 0 and redis.pcall('SET', key, body, 'EX', ttl)
    if not result or result.err then
      redis.call('UNLINK', key)
      if result and string.sub(result.err, 1, 3) ~= 'OOM' then
        return result
      end
      refused = refused + 1
    end
  end
end
return refused
