(function_definition) @function
(declaration_command "readonly" (variable_assignment) @constant)

(command
  name: (command_name (word) @import.callee)
  .
  argument: (_) @import.argument)

["if" "elif" "for" "while" "until" "select" "&&" "||"] @decision
(case_item) @decision
(case_item . value: (_) @decision.wildcard)

(comment) @comment
