(class_definition) @class
(object_definition) @module
(package_object) @module
(trait_definition) @trait
(enum_definition) @enum
(type_definition) @type
(function_definition) @function
(function_declaration) @function.signature

(import_declaration) @import

["if" "while"] @decision
(for_expression) @decision
(case_clause) @decision
(case_clause pattern: (wildcard) . "=>") @decision.not
(infix_expression operator: (operator_identifier) @decision.operator)

[(comment) (block_comment)] @comment
