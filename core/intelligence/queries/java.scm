(class_declaration) @class
(record_declaration) @class
(interface_declaration) @interface
(annotation_type_declaration) @interface
(enum_declaration) @enum
(module_declaration) @module

(method_declaration body: (_)) @method
(method_declaration !body) @method.signature
(constructor_declaration) @method
(compact_constructor_declaration) @method

(field_declaration
  (modifiers "static")
  declarator: (variable_declarator) @constant.upper)
(constant_declaration declarator: (variable_declarator) @constant)

(import_declaration [(scoped_identifier) (identifier)] @import)

["if" "for" "while" "case" "catch" "&&" "||"] @decision
(ternary_expression) @decision

[(line_comment) (block_comment)] @comment
