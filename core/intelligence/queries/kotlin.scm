(class_declaration) @class
(class_declaration "interface") @interface
(class_declaration (enum_class_body)) @enum
(object_declaration) @class
(type_alias type: (identifier) @name) @type
(function_declaration) @function.signature
(function_declaration (function_body)) @function
(secondary_constructor "constructor" @name) @method
(property_declaration
  (modifiers (property_modifier "const"))
  (variable_declaration (identifier) @name)) @constant

(import (qualified_identifier) @import)

["if" "for" "while" "catch" "&&" "||" "?:"] @decision
(when_entry "->" @decision)
(when_entry "else" "->" @decision.not)

[(line_comment) (block_comment)] @comment
