// Templates and what Jinja 3.1 prints for them, in the environment that
// transformers makes (trim_blocks, lstrip_blocks, loop controls, its tojson).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/text/chat_template.h"

namespace align {
namespace {

using ::testing::HasSubstr;

constexpr char kVariables[] =
    R"json({"a": [1, 2, 3], "s": " Hello World ", "d": {"k": "v", "n": 1, "z": [true, null, 1.5]}, "u": "héllo <b>世界😀", "users": [{"name": "Bob", "age": 3}, {"name": "alice", "age": 5}, {"name": "Carl"}], "t": true, "x": 7, "f": 2.5, "none": null, "e": "", "msgs": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]})json";

absl::StatusOr<std::string> Render(const std::string& text,
                                   const std::string& variables = "") {
  ChatTemplateSource source;
  source.templates.push_back({"default", text, "test.jinja"});
  ALIGN_ASSIGN_OR_RETURN(const ChatTemplate chat, ChatTemplate::Create(source));
  ALIGN_ASSIGN_OR_RETURN(
      const MarkedText out,
      chat.Render({.variables = variables}, {.time = 1721997296}));
  return out.text();
}

struct Case {
  const char* text;
  const char* expected;
};

constexpr Case kCases[] = {
    {"{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** "
     "10 }} {{ 7 / 2 }} {{ 6 / 2 }}",
     "6 1 -4 2 1024 3.5 3.0"},
    {"{{ 1.5 + 1 }} {{ 1e20 }} {{ 1e-7 }} {{ 123456789.125 }} {{ 0.1 + 0.2 }} "
     "{{ 5.0 // 2 }} {{ -5.5 % 2 }}",
     "2.5 1e+20 1e-07 123456789.125 0.30000000000000004 2.0 0.5"},
    {"{{ 'a' ~ 1 ~ none ~ true ~ 1.5 }} {{ 'ab' * 3 }} {{ [1] * 2 }} {{ [1] + "
     "[2, 'x'] }} {{ 'a' 'b' }}",
     "a1NoneTrue1.5 ababab [1, 1] [1, 2, 'x'] ab"},
    {"{{ 1 < 2 <= 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ 'b' "
     "in 'abc' }} {{ 4 not in a }} {{ 'k' in d }} {{ not 1 in a }} {{ [1, 2] "
     "== [1, 2] }} {{ {'a': 1} == {'a': 1} }}",
     "True True True True True True True False True True"},
    {"{{ 1 and 0 or 'x' }} {{ 'y' if t else 'n' }} {{ 'y' if not t }}| {{ (1 "
     "if false else 2) + 1 }} {{ e or 'empty' }}",
     "x y | 3 empty"},
    {"{{ a[0] }} {{ a[-1] }} {{ a[1:] }} {{ a[::-1] }} {{ a[-2:] }} {{ a[:1] "
     "}} {{ s[1:6] }} {{ u[1:3] }} {{ u[::-1] }} {{ a[5:] }} {{ a[2:0:-1] }} "
     "{{ 'abcdef'[::2] }} {{ 'abc'[5] }}|",
     "1 3 [2, 3] [3, 2, 1] [2, 3] [1] Hello \303\251l "
     "\360\237\230\200\347\225\214\344\270\226>b< oll\303\251h [] [3, 2] ace "
     "|"},
    {"{{ d.k }} {{ d['n'] }} {{ d.z }} {{ d }} {{ d.missing }}| {{ d.get('q', "
     "'dflt') }} {{ d.get('q') }} {{ d.items() | list }} {{ d.keys() | list }} "
     "{{ d.values() | list }}",
     "v 1 [True, None, 1.5] {'k': 'v', 'n': 1, 'z': [True, None, 1.5]} | dflt "
     "None [('k', 'v'), ('n', 1), ('z', [True, None, 1.5])] ['k', 'n', 'z'] "
     "['v', 1, [True, None, 1.5]]"},
    {"{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ 'xxaxx'.strip('x') "
     "}}|{{ 'a,b,,c'.split(',') }}|{{ ' a  b '.split() }}|{{ 'a b c'.split(' "
     "', 1) }}|{{ 'a.b.c'.rsplit('.', 1) }}|{{ 'a\\nb\\r\\nc\\n'.splitlines() "
     "}}",
     "Hello World|Hello World | Hello World|a|['a', 'b', '', 'c']|['a', "
     "'b']|['a', 'b c']|['a.b', 'c']|['a', 'b', 'c']"},
    {"{{ s.upper() }}{{ s.lower() }}{{ 'hello wORLD-x'.title() }} {{ "
     "'hELLO'.capitalize() }} {{ 'aBc'.swapcase() }} {{ "
     "'hello'.startswith('he') }} {{ 'hello'.endswith(('lo', 'x')) }} {{ "
     "'a-b-a'.replace('a', 'z', 1) }} {{ 'banana'.count('an') }} {{ "
     "'banana'.find('n') }} {{ 'banana'.rfind('n') }} {{ '12'.isdigit() }} {{ "
     "'ab1'.isalpha() }} {{ ' '.isspace() }} {{ '-'.join(['a', 'b']) }} {{ "
     "'prefix-x'.removeprefix('prefix-') }}",
     " HELLO WORLD  hello world Hello World-X Hello AbC True True z-b-a 2 2 4 "
     "True False True a-b x"},
    {"{{ s | trim }}|{{ s | length }}|{{ u | length }}|{{ u | upper }}|{{ 'foo "
     "bar-baz (qux' | title }}|{{ 'fOO Bar' | capitalize }}|{{ u | escape "
     "}}|{{ 'a-b' | replace('-', '+') }}|{{ 'x' | center(5) }}|{{ 'one two' | "
     "wordcount }}",
     "Hello World|13|12|H\303\211LLO "
     "<B>\344\270\226\347\225\214\360\237\230\200|Foo Bar-Baz (Qux|Foo "
     "bar|h\303\251llo &lt;b&gt;\344\270\226\347\225\214\360\237\230\200|a+b|  "
     "x  |2"},
    {"{{ a | first }} {{ a | last }} {{ a | join('-') }} {{ a | sum }} {{ a | "
     "max }} {{ a | min }} {{ a | reverse | list }} {{ 'abc' | reverse }} {{ "
     "'abc' | list }} {{ a | length }} {{ [] | first }}| {{ [3, 1, 2] | sort "
     "}} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A', 'c'] | sort(reverse=true) "
     "}} {{ ['b', 'A', 'a', 'B'] | unique | list }} {{ [1, 2, 3, 4, 5] | "
     "batch(2) | list }}",
     "1 3 1-2-3 6 3 1 [3, 2, 1] cba ['a', 'b', 'c'] 3 | [1, 2, 3] ['A', 'b', "
     "'c'] ['c', 'b', 'A'] ['b', 'A'] [[1, 2], [3, 4], [5]]"},
    {"{{ users | map(attribute='name') | join(', ') }} {{ users | "
     "map(attribute='age', default=0) | list }} {{ ['a', 'b'] | map('upper') | "
     "list }} {{ users | selectattr('age') | map(attribute='name') | list }} "
     "{{ users | selectattr('age', 'defined') | list | length }} {{ users | "
     "rejectattr('name', 'equalto', 'Bob') | map(attribute='name') | list }} "
     "{{ a | select('odd') | list }} {{ a | reject('odd') | list }} {{ a | "
     "select('>', 1) | list }} {{ users | sort(attribute='name') | "
     "map(attribute='name') | list }}",
     "Bob, alice, Carl [3, 5, 0] ['A', 'B'] ['Bob', 'alice'] 2 ['alice', "
     "'Carl'] [1, 3] [2] [2, 3] ['alice', 'Bob', 'Carl']"},
    {"{{ d | tojson }} {{ u | tojson }} {{ d | tojson(indent=2) }} {{ {'b': 1, "
     "'a': [], 'c': {}} | tojson(sort_keys=true) }} {{ u | tojson(true) }} {{ "
     "[1, 2] | tojson(separators=(',', ':')) }} {{ 1e16 | tojson }} {{ "
     "'a\"\\\\\\n\\t\\x01/' | tojson }}",
     "{\"k\": \"v\", \"n\": 1, \"z\": [true, null, 1.5]} \"h\303\251llo "
     "<b>\344\270\226\347\225\214\360\237\230\200\" {\n  \"k\": \"v\",\n  "
     "\"n\": 1,\n  \"z\": [\n    true,\n    null,\n    1.5\n  ]\n} {\"a\": [], "
     "\"b\": 1, \"c\": {}} \"h\\u00e9llo <b>\\u4e16\\u754c\\ud83d\\ude00\" "
     "[1,2] 1e+16 \"a\\\"\\\\\\n\\t\\u0001/\""},
    {"{{ missing | default('m') }} {{ e | default('m') }}| {{ e | default('m', "
     "true) }} {{ none | default('m') }} {{ missing | d }}| {{ '12' | int }} "
     "{{ 'x' | int }} {{ 'x' | int(5) }} {{ '3.7' | int }} {{ '2.5' | float }} "
     "{{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 2.1 | round(0, 'ceil') }} {{ "
     "-3 | abs }} {{ 'ff' | int(base=16) }} {{ 3 | string + 'x' }}",
     "m | m None | 12 0 5 3 2.5 2.57 2.0 3.0 3 255 3x"},
    {"{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2, true) }}|{{ "
     "'a\\n\\nb' | indent(1, blank=true) }}|{{ 'a\\nb' | indent('> ') }}|{{ "
     "'x\\n' | indent }}|",
     "a\n    b\n\n    c|  a\n  b|a\n \n b|a\n> b|x\n|"},
    {"{{ d | dictsort }} {{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'a': 2} "
     "| dictsort(by='value') }} {{ d | items | list }} {{ users | "
     "groupby('name') | map('first') | list }}",
     "[('k', 'v'), ('n', 1), ('z', [True, None, 1.5])] [('A', 2), ('b', 1)] "
     "[('b', 1), ('a', 2)] [('k', 'v'), ('n', 1), ('z', [True, None, 1.5])] "
     "['alice', 'Bob', 'Carl']"},
    {"{{ x is defined }} {{ y is defined }} {{ y is undefined }} {{ none is "
     "none }} {{ s is string }} {{ d is mapping }} {{ a is sequence }} {{ a is "
     "iterable }} {{ x is number }} {{ x is integer }} {{ f is float }} {{ t "
     "is boolean }} {{ t is true }} {{ t is false }} {{ x is odd }} {{ x is "
     "even }} {{ x is divisibleby 7 }} {{ x is eq 7 }} {{ x is in [7] }} {{ x "
     "is not none }} {{ 'a' is lower }} {{ 'A' is upper }} {{ x is sameas 7 }} "
     "{{ x is gt(3) }} {{ range is callable }} {{ d is sequence }} {{ x is "
     "string or s is string }}",
     "True False True True True True True True True True True True True False "
     "True False True True True True True True True True True True True"},
    {"{% for i in a %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ "
     "loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ "
     "loop.nextitem }};{% endfor %}",
     "103TrueFalse32;212FalseFalse313;321FalseTrue32;"},
    {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for x in [] "
     "%}x{% else %}none{% endfor %}{% for x in a if x != 2 %}{{ loop.index "
     "}}:{{ x }}/{{ loop.length }} {% endfor %}{% for c in 'abc' %}{{ "
     "loop.cycle('o', 'e') }}{{ c }}{% endfor %}{% for k in d %}{{ k }}{% "
     "endfor %}",
     "k=v;n=1;z=[True, None, 1.5];none1:1/2 2:3/2 oaebocknz"},
    {"{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i "
     "> 4 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ range(2, 10, 3) | "
     "list }} {{ range(3, 0, -1) | list }}",
     "0134 [2, 5, 8] [3, 2, 1]"},
    {"{% set x = 1 %}{% for i in a %}{% set x = i %}{{ x }}{% endfor %}{{ x "
     "}}{% set ns = namespace(n=0, s='') %}{% for i in a %}{% set ns.n = ns.n "
     "+ i %}{% endfor %}{{ ns.n }}{% if t %}{% set q = 5 %}{% endif %}{{ q "
     "}}{% set p, r = 1, 2 %}{{ p }}{{ r }}",
     "12316512"},
    {"{% for i in a %}{% for j in a %}{{ i * j }}{{ loop.depth }}{% endfor "
     "%}{{ loop.depth }}{% endfor %}{% for i in a %}{% if loop.first %}{{ w "
     "}}{% endif %}{% set w = i %}{{ w }}{% endfor %}",
     "112131121416113161911123"},
    {"{% set b %}block {{ x }}{% endset %}[{{ b }}]{% set c | upper %}abc{% "
     "endset %}{{ c }}{% filter upper %}xyz{{ x }}{% endfilter %}{% with q = "
     "3, w = 4 %}{{ q + w }}{% endwith %}{{ q }}",
     "[block 7]ABCXYZ77"},
    {"{% macro m(a, b='B', c=none) %}({{ a }},{{ b }},{{ c }}){% endmacro %}{{ "
     "m(1) }}{{ m(1, 2) }}{{ m(c=3, a=1) }}{{ m() }}{% macro r(n) %}{{ n }}{% "
     "if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(3) }}{% set y = 9 "
     "%}{% macro g() %}{{ y }}{% endmacro %}{% set y = 10 %}{{ g() }}",
     "(1,B,None)(1,2,None)(1,B,3)(,B,None)321010"},
    {"{%- if x == 1 -%} one {%- elif x == 7 -%} seven {%- else -%} other {%- "
     "endif -%} !",
     "seven!"},
    {"line1\n  {% if t %}\n  yes\n  {% endif %}\nline2\n{% for i in a %}\n  - "
     "{{ i }}\n{% endfor %}\nend\n",
     "line1\n  yes\nline2\n  - 1\n  - 2\n  - 3\nend"},
    {"a {#- comment -#} b\n  {# full line #}\nc {{- ' d' -}} e {%+ if t %}f{% "
     "endif +%}\ng",
     "ab\nc de f\ng"},
    {"{% raw %}{{ not }} {% this %}{% endraw %} {{ '{{' }} {{ \"}}\" }} {{ "
     "{'a': {'b': 1}}['a']['b'] }}",
     "{{ not }} {% this %} {{ }} 1"},
    {"{{ 'tab\\tnl\\nq\\'\\\\ \\x41 \\u00e9 \\U0001F600 \\101 \\q' }} {{ "
     "\"dq\\\"\" }} {{ 'it''s' }}",
     "tab\tnl\nq'\\ A \303\251 \360\237\230\200 A \\q dq\" its"},
    {"{{ [1, 'a', none, true, 1.0, [2], (3,), {'k': 'v\\'s'}] }} {{ () }} {{ "
     "(1, 2) }} {{ \"it's\" | list }} {{ ['it\\'s \"q\"', 'n\\n\\\\'] }}",
     "[1, 'a', None, True, 1.0, [2], (3,), {'k': \"v's\"}] () (1, 2) ['i', "
     "'t', \"'\", 's'] ['it\\'s \"q\"', 'n\\n\\\\']"},
    {"{% generation %}gen{{ x }}{% endgeneration %}{{ strftime_now('%d %b %Y "
     "%H:%M') }}{{ strftime_now(\"%-d\") }}",
     "gen726 Jul 2024 12:3426"},
    {"{{ msgs[0]['role'] }}{% for m in msgs[1:] %}{{ m.role }}{{ loop.index0 % "
     "2 }}{% endfor %}{{ (msgs | last).content }}{{ msgs | "
     "map(attribute='role') | join(',') }}{% if (msgs[1].role == 'user') != (1 "
     "% 2 == 0) %}alt{% endif %}",
     "systemuser0assistant1Asystem,user,assistantalt"},
    {"{{ -x }} {{ +x }} {{ - x + 1 }} {{ 2 - -3 }} {{ not t }} {{ -x | abs }} "
     "{{ 'A' if x > 5 and not x > 8 else 'B' }} {{ x if x is defined else 'u' "
     "}}",
     "-7 7 -6 5 False 7 A 7"},
    {"{{ '%s' | string }} {{ a | string }} {{ [a, a] | map('join', '+') | list "
     "}} {{ '1,2' .split(',') | map('int') | sum }} {{ d.z[2] }} {{ a.0 }} {{ "
     "users[0].name.upper() }}",
     "%s [1, 2, 3] ['1+2+3', '1+2+3'] 3 1.5 1 BOB"},
    {"{{ missing == none }} {{ missing }}{{ missing | length }} {{ missing is "
     "none }} {{ 'x' in missing }} {% for q in missing %}q{% endfor %}{{ "
     "(missing, 1) | length }} {{ missing | list }} {{ missing | join }}|{{ "
     "missing | trim }}|",
     "False 0 False False 2 [] ||"},
    {"{{ 'Stra\303\237e' | upper }} {{ '\303\200\303\211' | lower }} {{ "
     "'\\u00a0x\\u2003' | trim }}| {{ '\307\206' | upper }} {{ "
     "'\344\270\255\346\226\207' | title }} {{ '\303\251a \303\251b' | title "
     "}} {{ 'x' < '\303\251' }}",
     "STRASSE \303\240\303\251 x| \307\204 \344\270\255\346\226\207 \303\211a "
     "\303\211b True"},
    {"{% if a %}{% if not none %}ok{% endif %}{% endif %}\n  {%- set z = 3 "
     "%}\n  \n  {{- z }}   \n   {%- if z -%}   q   {% endif %}  \n",
     "ok3q     "},
};

TEST(JinjaTest, PrintsWhatJinjaPrints) {
  for (const Case& one : kCases) {
    const auto out = Render(one.text, kVariables);
    ASSERT_TRUE(out.ok()) << one.text << "\n" << out.status();
    EXPECT_EQ(*out, one.expected) << one.text;
  }
}

void ExpectRefused(const std::string& text, absl::StatusCode code,
                   const std::string& what) {
  const auto out = Render(text);
  ASSERT_FALSE(out.ok()) << text << " gives " << *out;
  EXPECT_EQ(out.status().code(), code) << text << ": " << out.status();
  EXPECT_THAT(Message(out.status()), HasSubstr("test.jinja: line")) << text;
  EXPECT_THAT(Message(out.status()), HasSubstr(what)) << text;
}

TEST(JinjaTest, RefusesWhatIsOutsideTheSubsetByLineAndConstruct) {
  const auto code = absl::StatusCode::kUnimplemented;
  ExpectRefused("a\n{% include 'x' %}", code,
                "line 2: the block {% include %}");
  ExpectRefused("{% extends 'x' %}", code, "{% extends %}");
  ExpectRefused("{% call m() %}{% endcall %}", code, "{% call %}");
  ExpectRefused("{% for x in [] recursive %}{% endfor %}", code, "recursive");
  ExpectRefused("\n\n{{ 1 | urlize }}", code, "line 3: the filter \"urlize\"");
  ExpectRefused("{{ 1 is filter }}", code, "the test \"filter\"");
  ExpectRefused("{{ 'a'.encode() }}", code, "the method encode of str");
  ExpectRefused("{{ [].append(1) }}", code, "the method append of list");
  ExpectRefused("{{ {}.update({}) }}", code, "the method update of dict");
  ExpectRefused("{{ lipsum() }}", code, "the function \"lipsum\"");
  ExpectRefused("{{ f(*a) }}", code, "unpacked by \"*\"");
  ExpectRefused("{{ 'a %s' % 1 }}", code, "formatting");
  ExpectRefused("{{ namespace(a=1) }}", code, "namespace is printed");
}

TEST(JinjaTest, MalformedTemplatesNameWhatWasExpectedAndTheLine) {
  const auto code = absl::StatusCode::kInvalidArgument;
  ExpectRefused("a\n{{ 1", code, "line 2: a tag that does not end");
  ExpectRefused("{# a", code, "comment");
  ExpectRefused("{% if a %}", code, "{% endif %} expected");
  ExpectRefused("{% endfor %}", code, "belongs to no block");
  ExpectRefused("{% if a %}{% endfor %}", code, "{% endfor %}");
  ExpectRefused("{{ }}", code, "an expression expected, \"}}\" found");
  ExpectRefused("{{ a b }}", code, "\"}}\" expected, \"b\" found");
  ExpectRefused("{{ 'a }}", code, "a string that does not end");
  ExpectRefused("{{ (1] }}", code, "closes nothing");
  ExpectRefused("{{ ? }}", code, "no meaning");
  ExpectRefused("{% break %}", code, "outside a loop");
  ExpectRefused("{{ 99999999999999999999 }}", code, "out of range");
  ExpectRefused("\xff", code, "not UTF-8");
}

TEST(JinjaTest, ErrorsOfARunNameTheLineAndTheValue) {
  const auto code = absl::StatusCode::kInvalidArgument;
  ExpectRefused("\n{{ raise_exception('no ' ~ 'way') }}", code,
                "line 2: the template refuses this input: no way");
  ExpectRefused("{{ a.b }}", code, "\"b\" of an undefined value: \"a\" is");
  ExpectRefused("{{ a + 1 }}", code, "\"a\" is undefined");
  ExpectRefused("{{ f() }}", code, "\"f\" is undefined");
  ExpectRefused("{{ 1 + 'a' }}", code, "\"+\" of int and str");
  ExpectRefused("{{ 1 // 0 }}", code, "division by zero");
  ExpectRefused("{{ 1 < 'a' }}", code, "no order");
  ExpectRefused("{% for x in 1 %}{% endfor %}", code, "no items");
  ExpectRefused("{% set a.b = 1 %}", code, "no namespace");
  ExpectRefused("{% for a, b in [1] %}{% endfor %}", code, "no items");
  ExpectRefused("{{ {[]: 1} }}", code, "the key of a dict");
  ExpectRefused("{{ 9223372036854775807 + 1 }}", absl::StatusCode::kOutOfRange,
                "beyond 64 bits");
  EXPECT_EQ(*Render("{{ strftime_now is defined }}"), "True");
}

TEST(JinjaTest, StepsDepthAndSizesAreBounded) {
  const auto code = absl::StatusCode::kResourceExhausted;
  ExpectRefused(
      "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}"
      "{% endfor %}",
      code, "more than");
  ExpectRefused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", code,
                "levels deep");
  ExpectRefused("{{ range(1000000000) }}", code, "range");
  ExpectRefused("{{ 'x' * 999999999999 }}", code, "bytes");
  ExpectRefused(
      "{% set ns = namespace(s='x') %}{% for i in range(99) %}"
      "{% set ns.s = ns.s + ns.s %}{% endfor %}",
      code, "more than");
  ExpectRefused(
      "{% set ns = namespace(s=[]) %}{% for i in range(99) %}"
      "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
      code, "deep");
  ExpectRefused(
      "{% set ns = namespace(s=[]) %}{% for i in range(40) %}"
      "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
      code, "steps");
  ExpectRefused(
      "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
      code, "levels deep");
  std::string sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) sum += " + 1";
  ExpectRefused(sum + " }}", code, "levels deep");
  std::string blocks;
  for (int i = 0; i < 500; ++i) blocks += "{% if 1 %}";
  ExpectRefused(blocks, code, "blocks more than");
}

}  // namespace
}  // namespace align
