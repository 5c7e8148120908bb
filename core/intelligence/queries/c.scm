(struct_specifier body: (_)) @struct
(union_specifier body: (_)) @struct
(enum_specifier body: (_)) @enum

(type_definition type: (struct_specifier !name) declarator: (type_identifier) @name) @struct
(type_definition type: (union_specifier !name) declarator: (type_identifier) @name) @struct
(type_definition type: (enum_specifier !name) declarator: (type_identifier) @name) @enum
(type_definition
  type: [(struct_specifier !body) (union_specifier !body) (enum_specifier !body)
         (primitive_type) (sized_type_specifier) (type_identifier)]
  declarator: [
    (type_identifier) @name
    (pointer_declarator declarator: (type_identifier) @name)
    (array_declarator declarator: (type_identifier) @name)
    (function_declarator
      declarator: (parenthesized_declarator
        (pointer_declarator declarator: (type_identifier) @name)))
  ]) @type

(function_definition) @function
(declaration
  declarator: [
    (function_declarator declarator: (identifier))
    (pointer_declarator declarator: (function_declarator declarator: (identifier)))
  ]) @function.signature
(function_declarator declarator: (identifier) @name)

(preproc_def) @macro
(preproc_function_def) @macro

(preproc_include path: (_) @import)

["if" "for" "while" "case" "?" "&&" "||"] @decision
(preproc_if condition: (_) @decision.none_within)
(preproc_elif condition: (_) @decision.none_within)

(comment) @comment
