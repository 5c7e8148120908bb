(class_declaration declaration_kind: ["class" "actor"]) @class
(class_declaration declaration_kind: "struct") @struct
(class_declaration declaration_kind: "enum") @enum
(class_declaration declaration_kind: "extension") @scope
(protocol_declaration) @interface
(typealias_declaration) @type
(function_declaration) @function
(protocol_function_declaration) @method.signature
(init_declaration) @method
(deinit_declaration "deinit" @name) @method

(import_declaration (identifier) @import)

["if" "guard" "for" "while" "&&" "||" "??"] @decision
(switch_entry) @decision
(switch_entry (default_keyword)) @decision.not
(ternary_expression) @decision
(catch_block) @decision

[(comment) (multiline_comment)] @comment
