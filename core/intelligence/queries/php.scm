(class_declaration) @class
(interface_declaration) @interface
(trait_declaration) @trait
(enum_declaration) @enum
(namespace_definition) @module
(function_definition) @function
(method_declaration body: (_)) @method
(method_declaration !body) @method.signature
(const_declaration (const_element . (name) @name) @constant)

(namespace_use_declaration (namespace_use_clause . [(qualified_name) (name)] @import))
(namespace_use_declaration (namespace_name) @import body: (namespace_use_group))
(require_expression [(string) (encapsed_string)] @import)
(require_once_expression [(string) (encapsed_string)] @import)
(include_expression [(string) (encapsed_string)] @import)
(include_once_expression [(string) (encapsed_string)] @import)
(include_expression (parenthesized_expression [(string) (encapsed_string)] @import))
(include_once_expression (parenthesized_expression [(string) (encapsed_string)] @import))
(require_expression (parenthesized_expression [(string) (encapsed_string)] @import))
(require_once_expression (parenthesized_expression [(string) (encapsed_string)] @import))

["if" "elseif" "for" "foreach" "while" "case" "catch" "&&" "||" "and" "or" "??" "??="] @decision
(conditional_expression) @decision
(match_conditional_expression) @decision
(enum_case "case" @decision.not)

(comment) @comment
