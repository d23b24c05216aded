-- Rows of text: every byte in its place, none too wide, the same in pieces as at once.
return function(t)
  vim.opt.runtimepath:prepend('nvim_plugin')
  local wrap = require('aigc.wrap')
  local hangs = false -- whether further rows of a line are indented as it is, as with 'breakindent'
  local function options(first, width, max_rows)
    local function hang_of(indent)
      return math.min(#indent + 1, width - 1)
    end
    return {
      first = first,
      width = width,
      column = width - first,
      tabstop = 8,
      max_rows = max_rows or 1000,
      hang = hangs and math.min(3, width - 1) or nil,
      hang_of = hangs and hang_of or nil,
    }
  end
  local function rows(text, o, before)
    return wrap.rows(text, o, before)
  end
  local function strings(text, list)
    return vim.tbl_map(function(row)
      return text:sub(row.first, row.last)
    end, list)
  end

  t.is(wrap.width('abc', 0, 8), 3, 'width of ASCII')
  t.is(wrap.width('日本é', 0, 8), 5, 'width of wide characters')
  t.is(wrap.width('a\tb', 0, 8), 9, 'width of a tab')
  t.is(wrap.width('a\tb', 3, 8), 6, 'width of a tab further right')

  local texts = {
    '  an indented line that goes on\n      and another one\n\tbehind a tab, which is wide',
    'Once upon a time, there was a little girl named Lily. She loved to play outside in the park.',
    '吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。',
    'mixed 日本語 text with\ttabs\tand\n\nline feeds\n and averyverylongwordthatdoesnotfitanywhere 🙂🙂',
    '',
    '\n\n',
    'ends with spaces    ',
  }
  math.randomseed(1)
  for _, with in ipairs({ '', ', with indents' }) do
    hangs = with ~= ''
    local too_wide, lost, unlike, cases = 0, 0, 0, 0
    for _, text in ipairs(texts) do
      for width = 2, 30 do
        for _, first in ipairs({ 0, 1, math.floor(width / 2), width }) do
          cases = cases + 1
          local o = options(first, width)
          local list = rows(text, o)
          for i, row in ipairs(list) do
            local column = i == 1 and o.column or row.indent
            local room = i == 1 and first or width - row.indent
            local shown = text:sub(row.first, row.last)
            local single = vim.fn.strchars(shown) == 1 -- nothing narrower can be done
            if not single and wrap.width(shown, column, 8) > room then
              too_wide = too_wide + 1
            end
            local left_out = text:sub(row.last + 1, (list[i + 1] or { first = #text + 1 }).first - 1)
            if left_out:find('[^ \n]') or #left_out > 1 then
              lost = lost + 1
            end
          end
          -- grown in pieces
          local grown, at = nil, 0
          while at < #text do
            at = math.min(#text, at + math.random(1, 7))
            while at < #text and text:byte(at + 1) >= 128 and text:byte(at + 1) < 192 do
              at = at + 1
            end
            grown = rows(text:sub(1, at), o, grown)
          end
          if #text > 0 and not vim.deep_equal(strings(text, grown), strings(text, list)) then
            unlike = unlike + 1
          end
        end
      end
    end
    t.is(too_wide, 0, 'no row is too wide, in ' .. cases .. ' cases' .. with)
    t.is(lost, 0, 'nothing is lost but a line feed or a space at a break' .. with)
    t.is(unlike, 0, 'text that grows has the same rows' .. with)
  end
  hangs = false
  t.is(#rows(('a\n'):rep(100), options(10, 10, 7)), 7, 'at most max_rows')
  t.is(
    table.concat(strings('日本語 words', rows('日本語 words', options(3, 6))), '|'),
    '日|本語|words',
    'wide characters break anywhere, words do not'
  )

  -- paragraphs joined for the model: a text that has grown or was mended as if it was seen for the first time
  local prose = require('aigc.prose')
  local function anew(text, width)
    package.loaded['aigc.prose'] = nil
    local joined = require('aigc.prose').join(text, width)
    package.loaded['aigc.prose'] = prose
    return joined
  end
  math.randomseed(5)
  local long = 'some words of a line that is long enough\n'
  local pieces = { long, long, '> ' .. long, '> ' .. long, '- ' .. long, '  ' .. long, '12. ' .. long }
  vim.list_extend(pieces, { '\n', 'a', ' ', '日本語', '\t', '# ' })
  local text, differences, joins = '', 0, 0
  for i = 1, 3000 do
    text = text .. pieces[math.random(#pieces)]
    if math.random(40) == 1 then
      text = text:sub(1, math.random(#text)) -- deleted to here
    elseif #text > 6000 then
      text = text:sub(1500) -- the prompt's beginning has moved
    end
    local width = i % 500 == 0 and 30 or 72
    local joined = prose.join(text, width)
    joins = joins + (joined ~= text and 1 or 0)
    differences = differences + (joined == anew(text, width) and 0 or 1)
  end
  t.is(differences, 0, 'paragraphs are joined as if each text was the first')
  t.ok(joins > 1000, 'most of them are', joins)

  -- a long text takes several turns; what is known of two does not have to be joined again
  local function calls(lines)
    local join, made = prose.joiner(lines, 72), 1
    local whole = join()
    while not whole do
      made, whole = made + 1, join()
    end
    return made, whole
  end
  local one, other = 'One\n' .. long:rep(90), 'Other\n' .. long:rep(90)
  local n, joined = calls(one)
  t.ok(n >= 4, '91 lines are joined in several turns', n)
  t.is(joined, anew(one, 72), 'to the same text')
  t.ok(calls(other) >= 4, 'another text as well')
  for _, more in ipairs({ one .. 'word', other .. 'word', one .. 'word and', other .. 'word and' }) do
    n, joined = calls(more)
    t.ok(n <= 2, 'the lines that are known are not joined again, only the last ones', n)
    t.is(joined, anew(more, 72), 'and the text is the same')
  end
  local given_up = prose.joiner(one .. long:rep(60), 72)
  given_up()
  n = calls(one .. 'more')
  t.ok(n <= 2, 'a text that is given up half-way takes nothing from the others', n)
end
