(class_declaration) @class
(variable_declarator name: (identifier) value: (class)) @class
(function_declaration) @function
(generator_function_declaration) @function
(method_definition) @method

(variable_declarator
  name: (identifier)
  value: [(arrow_function) (function_expression) (generator_function)]) @function
(assignment_expression
  left: [(identifier) @name (member_expression property: (_) @name)]
  right: [(arrow_function) (function_expression) (generator_function)]) @function
(pair
  key: (property_identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)]) @function

(lexical_declaration kind: "const" (variable_declarator name: (identifier)) @constant.upper)
(export_statement) @lead

(import_statement source: (string) @import)
(export_statement source: (string) @import)
(call_expression
  function: [(identifier) (import)] @import.callee
  arguments: (arguments . (string) @import.argument))

["if" "for" "while" "case" "catch" "&&" "||" "??" "&&=" "||=" "??="] @decision
(ternary_expression) @decision

(comment) @comment
