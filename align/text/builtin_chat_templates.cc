// Templates by name, for models that have none. Each marks its replies.

#include <array>

#include "align/text/chat_template.h"

namespace align {
namespace {

struct BuiltIn {
  std::string_view name;
  std::string_view summary;
  std::string_view text;
};

constexpr std::string_view kChatMl = R"jinja(
{%- for message in messages -%}
    {{- '<|im_start|>' ~ message.role ~ '\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}
            {{- message.content ~ '<|im_end|>' -}}
        {%- endgeneration -%}
        {{- '\n' -}}
    {%- else -%}
        {{- message.content ~ '<|im_end|>\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kQwen = R"jinja(
{%- set system = messages[0].content if messages and messages[0].role == 'system' else '' -%}
{%- if tools -%}
    {{- '<|im_start|>system\n' ~ (system ~ '\n\n' if system else '') -}}
    {{- '# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>' -}}
    {%- for tool in tools -%}
        {{- '\n' ~ (tool | tojson) -}}
    {%- endfor -%}
    {{- '\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n' -}}
{%- elif system -%}
    {{- '<|im_start|>system\n' ~ system ~ '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
        {{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' -}}
    {%- elif message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- generation -%}
            {{- message.content or '' -}}
            {%- for tool_call in message.tool_calls or [] -%}
                {%- set call = tool_call.function or tool_call -%}
                {{- '\n' if message.content or not loop.first -}}
                {{- '<tool_call>\n{"name": "' ~ call.name ~ '", "arguments": ' -}}
                {{- call.arguments if call.arguments is string else call.arguments | tojson -}}
                {{- '}\n</tool_call>' -}}
            {%- endfor -%}
            {{- '<|im_end|>' -}}
        {%- endgeneration -%}
        {{- '\n' -}}
    {%- elif message.role == 'tool' -%}
        {{- '<|im_start|>user' if loop.first or loop.previtem.role != 'tool' -}}
        {{- '\n<tool_response>\n' ~ message.content ~ '\n</tool_response>' -}}
        {{- '<|im_end|>\n' if loop.last or loop.nextitem.role != 'tool' -}}
    {%- elif message.role != 'system' -%}
        {{- raise_exception('role "' ~ message.role ~ '"; system, user, assistant or tool expected') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kLlama2 = R"jinja(
{%- set has_system = messages and messages[0].role == 'system' -%}
{%- set system = '<<SYS>>\n' ~ messages[0].content ~ '\n<</SYS>>\n\n' if has_system else '' -%}
{%- for message in (messages[1:] if has_system else messages) -%}
    {%- if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
        {{- raise_exception('role "' ~ message.role ~ '"; user and assistant by turns expected, after a system message or none') -}}
    {%- elif message.role == 'user' -%}
        {{- bos_token ~ '[INST] ' ~ (system if loop.first else '') ~ message.content.strip() ~ ' [/INST]' -}}
    {%- else -%}
        {%- generation -%}
            {{- ' ' ~ message.content.strip() ~ ' ' ~ eos_token -}}
        {%- endgeneration -%}
    {%- endif -%}
{%- endfor -%}
)jinja";

constexpr std::string_view kMistral = R"jinja(
{%- set has_system = messages and messages[0].role == 'system' -%}
{%- set system = messages[0].content ~ '\n\n' if has_system else '' -%}
{{- bos_token -}}
{%- for message in (messages[1:] if has_system else messages) -%}
    {%- if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
        {{- raise_exception('role "' ~ message.role ~ '"; user and assistant by turns expected, after a system message or none') -}}
    {%- elif message.role == 'user' -%}
        {{- '[INST] ' ~ (system if loop.first else '') ~ message.content ~ ' [/INST]' -}}
    {%- else -%}
        {%- generation -%}
            {{- ' ' ~ message.content.strip() ~ eos_token -}}
        {%- endgeneration -%}
    {%- endif -%}
{%- endfor -%}
)jinja";

constexpr std::string_view kLlama3 = R"jinja(
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}
            {{- message.content | trim ~ '<|eot_id|>' -}}
        {%- endgeneration -%}
    {%- else -%}
        {{- message.content | trim ~ '<|eot_id|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kGemma = R"jinja(
{%- set has_system = messages and messages[0].role == 'system' -%}
{%- set system = messages[0].content ~ '\n\n' if has_system else '' -%}
{{- bos_token -}}
{%- for message in (messages[1:] if has_system else messages) -%}
    {%- if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
        {{- raise_exception('role "' ~ message.role ~ '"; user and assistant by turns expected, after a system message or none') -}}
    {%- elif message.role == 'user' -%}
        {{- '<start_of_turn>user\n' ~ (system if loop.first else '') ~ message.content | trim ~ '<end_of_turn>\n' -}}
    {%- else -%}
        {{- '<start_of_turn>model\n' -}}
        {%- generation -%}
            {{- message.content | trim ~ '<end_of_turn>' -}}
        {%- endgeneration -%}
        {{- '\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<start_of_turn>model\n' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kDeepSeek = R"jinja(
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {{- message.content -}}
    {%- elif message.role == 'user' -%}
        {{- '<｜User｜>' ~ message.content -}}
    {%- elif message.role == 'assistant' -%}
        {{- '<｜Assistant｜>' -}}
        {%- generation -%}
            {{- message.content ~ '<｜end▁of▁sentence｜>' -}}
        {%- endgeneration -%}
    {%- else -%}
        {{- raise_exception('role "' ~ message.role ~ '"; system, user or assistant expected') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<｜Assistant｜>' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kZephyr = R"jinja(
{%- for message in messages -%}
    {{- '<|' ~ message.role ~ '|>\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}
            {{- message.content ~ eos_token -}}
        {%- endgeneration -%}
        {{- '\n' -}}
    {%- else -%}
        {{- message.content ~ eos_token ~ '\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>\n' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kPhi = R"jinja(
{%- for message in messages -%}
    {%- if message.role not in ['system', 'user', 'assistant'] -%}
        {{- raise_exception('role "' ~ message.role ~ '"; system, user or assistant expected') -}}
    {%- endif -%}
    {%- if message.role == 'assistant' -%}
        {{- '<|assistant|>\n' -}}
        {%- generation -%}
            {{- message.content ~ '<|end|>' -}}
        {%- endgeneration -%}
        {{- '\n' -}}
    {%- elif message.role == 'user' -%}
        {{- '<|user|>\n' ~ message.content ~ '<|end|>\n' -}}
    {%- else -%}
        {{- '<|system|>\n' ~ message.content ~ '<|end|>\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>\n' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kVicuna = R"jinja(
{%- set has_system = messages and messages[0].role == 'system' -%}
{{- bos_token -}}
{{- messages[0].content if has_system else "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions." -}}
{{- ' ' -}}
{%- for message in (messages[1:] if has_system else messages) -%}
    {%- if message.role == 'user' -%}
        {{- 'USER: ' ~ message.content ~ ' ' -}}
    {%- elif message.role == 'assistant' -%}
        {{- 'ASSISTANT:' -}}
        {%- generation -%}
            {{- ' ' ~ message.content ~ eos_token -}}
        {%- endgeneration -%}
    {%- else -%}
        {{- raise_exception('role "' ~ message.role ~ '"; system (first), user or assistant expected') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- 'ASSISTANT:' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kPlain = R"jinja(
{{- bos_token -}}
{%- for message in messages -%}
    {{- message.role | capitalize ~ ':' -}}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}
            {{- ' ' ~ message.content ~ eos_token -}}
        {%- endgeneration -%}
        {{- '\n' -}}
    {%- else -%}
        {{- ' ' ~ message.content ~ '\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- 'Assistant:' -}}
{%- endif -%}
)jinja";

constexpr std::string_view kHh = R"jinja(
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- '\n\nAssistant:' -}}
        {%- generation -%}
            {{- ' ' ~ message.content ~ (eos_token if loop.last else '') -}}
        {%- endgeneration -%}
    {%- elif message.role == 'user' -%}
        {{- '\n\nHuman: ' ~ message.content -}}
    {%- elif message.role == 'system' -%}
        {{- message.content -}}
    {%- else -%}
        {{- raise_exception('role "' ~ message.role ~ '"; system, user or assistant expected') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '\n\nAssistant:' -}}
{%- endif -%}
)jinja";

constexpr std::array<BuiltIn, 12> kBuiltIns = {{
    {"chatml", "<|im_start|>ROLE ... <|im_end|>", kChatMl},
    {"deepseek", "DeepSeek-V3's, without tools", kDeepSeek},
    {"gemma", "<start_of_turn>user ... <end_of_turn>, Gemma 1 to 3", kGemma},
    {"hh",
     "\"\\n\\nHuman: \" and \"\\n\\nAssistant:\" as in HH-RLHF, EOS "
     "after the last reply",
     kHh},
    {"llama2", "[INST] <<SYS>> ... [/INST], BOS and EOS around each turn",
     kLlama2},
    {"llama3", "<|start_header_id|>ROLE<|end_header_id|> ... <|eot_id|>",
     kLlama3},
    {"mistral", "[INST] ... [/INST], the system's text in the first turn",
     kMistral},
    {"phi", "<|user|> ... <|end|>, Phi-3", kPhi},
    {"plain", "\"User: \" and \"Assistant: \", a line a turn", kPlain},
    {"qwen", "ChatML with tools, as Qwen 2.5 and 3 write them", kQwen},
    {"vicuna", "\"USER: \" and \"ASSISTANT:\" on one line", kVicuna},
    {"zephyr", "<|user|> ... EOS, a line between turns", kZephyr},
}};

}  // namespace

absl::StatusOr<ChatTemplateSource> BuiltInChatTemplate(std::string_view name) {
  std::string known;
  for (const BuiltIn& one : kBuiltIns) {
    if (one.name == name) {
      ChatTemplateSource source;
      source.templates.push_back({"default", std::string(one.text),
                                  "chat template " + std::string(name)});
      return source;
    }
    known += ' ';
    known += one.name;
  }
  return NotFound("chat template \"" + std::string(name) +
                  "\"; built in are:" + known);
}

std::vector<BuiltInChatTemplateInfo> BuiltInChatTemplates() {
  std::vector<BuiltInChatTemplateInfo> all;
  for (const BuiltIn& one : kBuiltIns) all.push_back({one.name, one.summary});
  return all;
}

}  // namespace align
