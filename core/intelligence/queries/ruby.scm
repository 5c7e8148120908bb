(class) @class
(module) @module
(method) @function
(singleton_method) @function
(assignment left: (constant) @name) @constant

(call
  !receiver
  method: (identifier) @import.callee
  arguments: (argument_list . (string) @import.argument))

["if" "elsif" "unless" "while" "until" "for" "when" "rescue" "&&" "||" "and" "or"] @decision
(conditional "?" @decision)
(in_clause) @decision

(comment) @comment
