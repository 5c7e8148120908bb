(struct_item) @struct
(union_item) @struct
(enum_item) @enum
(trait_item) @trait
(mod_item) @module
(type_item) @type
(impl_item
  type: [
    (type_identifier) @name
    (generic_type type: (type_identifier) @name)
    (generic_type type: (scoped_type_identifier name: (type_identifier) @name))
    (scoped_type_identifier name: (type_identifier) @name)
  ]) @scope
(function_item) @function
(function_signature_item) @function.signature
(const_item) @constant
(static_item) @constant
(macro_definition) @macro
(attribute_item) @lead

(use_declaration argument: (_) @import)
(extern_crate_declaration name: (identifier) @import)

["if" "while" "&&" "||"] @decision
(for_expression) @decision
(let_declaration alternative: (_) @decision)
(match_arm "=>" @decision)
(match_arm pattern: (match_pattern . "_" .) "=>" @decision.not)
(token_tree ["if" "while" "&&" "||"] @decision.not)

[(line_comment) (block_comment)] @comment
