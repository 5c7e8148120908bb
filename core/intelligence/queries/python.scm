(class_definition) @class
(function_definition) @function
(type_alias_statement left: (type (identifier) @name)) @type
(module (expression_statement (assignment left: (identifier) @name) @constant.upper))
(decorated_definition) @lead

(module . (comment)* . (expression_statement . (string) @docstring))
(class_definition body: (block . (expression_statement . (string) @docstring)))
(function_definition body: (block . (expression_statement . (string) @docstring)))

(import_statement name: [(dotted_name) @import (aliased_import name: (dotted_name) @import)])
(import_from_statement module_name: (_) @import)
(future_import_statement "__future__" @import)

["if" "elif" "for" "while" "except" "case" "and" "or"] @decision
(case_clause "case" @decision.not . (case_pattern "_") . ":")

(comment) @comment
